"""The dataset of a training looked at before anything is started, by the rules of the installed release."""

from __future__ import annotations

import re
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config.validation import ConfigurationError
from ultralytics_wb_ddp.config.yaml_file import explanation_of_yaml
from ultralytics_wb_ddp.train_arguments import quiet

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["check_data"]

YAML = {".yaml", ".yml"}


def check_data(
    data: Any, where: str, *, needed: bool, own_format: bool = False, task: Callable[[], str | None] = lambda: None
) -> None:
    """Refuse a dataset that is not there or incomplete, and none at all, for which Ultralytics would take one.

    Nothing is downloaded: images that the data YAML says how to get may be missing. A name without a path may be one
    of the datasets for classification that Ultralytics gets, and is left to it.

    Args:
        data: What ``model.train(data=...)`` is given.
        where: What the user wrote it into, for messages, such as ``"train.data"``.
        needed: Whether there must be one.
        own_format: Whether the trainer has a way of its own to read it.
        task: Finds the task of the model out, where that matters; None is unknown.

    Raises:
        ConfigurationError: It is missing, or Ultralytics would refuse it.
    """
    if data is None and needed:
        msg = f"{where} is missing; name the dataset, such as {where}=coco8.yaml"
        raise ConfigurationError(msg)
    for each in data if isinstance(data, list) else [data]:
        if not isinstance(each, (str, NoneType)) and not own_format:
            msg = f"{where}={data!r}: {each!r} is no dataset; name a data YAML, or a directory of images to classify"
            raise ConfigurationError(msg)
        if isinstance(each, str) and "://" not in each:
            file = _find(each, where)
            if not own_format and (file.suffix in YAML or file.is_dir()):
                _look_into(each, str(file), where, task())


def _find(data: str, where: str) -> Path:
    """Return the place of a dataset; a name that Ultralytics knows stands for itself."""
    from ultralytics.utils import DATASETS_DIR
    from ultralytics.utils.checks import check_file

    path = Path(data)
    if path.suffix in YAML:
        found = check_file(data, download=False, hard=False)
    else:
        found = data if len(path.parts) == 1 or path.exists() or (DATASETS_DIR / path).exists() else ""
    if not found:
        msg = f"{where}={data!r}: there is no such file, here or in Ultralytics; check the path"
        raise ConfigurationError(msg)
    return Path(str(found))


def _look_into(data: str, file: str, where: str, task: str | None) -> None:
    """Refuse a dataset of which Ultralytics would say that it is incomplete, or not for models of this task."""
    if task == "classify":
        _check_images(data, where)
    elif Path(file).suffix in YAML:
        _check_yaml(data, file, where)
    elif task:
        _ask(data, where, "give its data YAML")


def _check_images(data: str, where: str) -> None:
    """Refuse what a model that classifies cannot be trained on: below ``train`` it takes a directory for each class."""
    folder = Path(data)
    if not folder.is_dir():
        msg = f"{where}={data!r} is a data YAML, and a model that classifies takes a directory: train/CLASS/IMAGE"
        raise ConfigurationError(msg)
    if not (folder / "train").is_dir():
        msg = f"{where}={data!r} has no directory 'train', in which a model that classifies has one for each class"
        raise ConfigurationError(msg)


def _check_yaml(data: str, file: str, where: str) -> None:
    """Refuse a data YAML that Ultralytics refuses."""
    from yaml import YAMLError, safe_load

    text = Path(file).read_text(encoding="utf-8", errors="replace")
    try:
        content = safe_load(text)
    except YAMLError as error:
        line, reason = explanation_of_yaml(error, text)
        msg = f"{where}={data!r} cannot be read{f' in line {line}' if line else ''} ({reason}); mend the YAML"
        raise ConfigurationError(msg) from error
    if not isinstance(content, dict):
        msg = f"{where}={data!r} holds no 'name: value' lines; it needs train, val and names"
        raise ConfigurationError(msg)
    _ask(data, where, "mend the data YAML", gets_images=bool(content.get("download")))


def _ask(data: str, where: str, remedy: str, *, gets_images: bool = False) -> None:
    """Have Ultralytics look at a dataset.

    Args:
        data: The dataset.
        where: What the user wrote it into, for messages.
        remedy: What to do where it is refused.
        gets_images: Whether images that are missing are downloaded when the training begins.
    """
    from ultralytics.data.utils import check_det_dataset

    with quiet():
        try:
            check_det_dataset(data, autodownload=False)
        except (AssertionError, AttributeError, OSError, SyntaxError, TypeError, ValueError) as error:
            if isinstance(error, FileNotFoundError) and gets_images:
                return
            said = re.sub(r"\s+([.,;])", r"\1", " ".join(str(error).encode("ascii", "ignore").decode().split()))
            msg = f"{where}={data!r} is refused by Ultralytics: {said.rstrip('.')}; {remedy}"
            raise ConfigurationError(msg) from error
