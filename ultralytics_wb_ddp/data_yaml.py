"""The dataset of a training looked at before anything is started, by the rules of the installed release."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ultralytics_wb_ddp.checks import ConfigurationError
from ultralytics_wb_ddp.config_file import explanation_of_yaml
from ultralytics_wb_ddp.train_arguments import quiet

__all__ = ["check_data"]

YAML = {".yaml", ".yml"}


def check_data(data: Any, where: str, *, needed: bool, own_format: bool = False) -> None:
    """Refuse a dataset that is not there or incomplete, and none at all, for which Ultralytics would take one.

    Nothing is downloaded: images that the data YAML says how to get may be missing. A name without a path may be one
    of the datasets for classification that Ultralytics gets, and is left to it.

    Args:
        data: What ``model.train(data=...)`` is given.
        where: What the user wrote it into, for messages, such as ``"train.data"``.
        needed: Whether there must be one.
        own_format: Whether the trainer has a way of its own to read it.

    Raises:
        ConfigurationError: It is missing, or Ultralytics would refuse it.
    """
    from ultralytics.utils import DATASETS_DIR
    from ultralytics.utils.checks import check_file

    if data is None and needed:
        msg = f"{where} is missing; name the dataset, such as {where}=coco8.yaml"
        raise ConfigurationError(msg)
    for each in data if isinstance(data, list) else [data]:
        if not isinstance(each, str) or "://" in each:
            continue
        path = Path(each)
        if path.suffix in YAML:
            found = check_file(each, download=False, hard=False)
        else:
            found = len(path.parts) == 1 or path.exists() or (DATASETS_DIR / path).exists()
        if not found:
            msg = f"{where}={each!r}: there is no such file, here or in Ultralytics; check the path"
            raise ConfigurationError(msg)
        if path.suffix in YAML and not own_format:
            _check_yaml(each, str(found), where)


def _check_yaml(data: str, file: str, where: str) -> None:
    """Refuse a data YAML that Ultralytics refuses."""
    from ultralytics.data.utils import check_det_dataset
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
    with quiet():
        try:
            check_det_dataset(data, autodownload=False)
        except (AttributeError, FileNotFoundError, SyntaxError, TypeError, ValueError) as error:
            if isinstance(error, FileNotFoundError) and content.get("download"):  # the training gets the images
                return
            said = re.sub(r"\s+([.,;])", r"\1", " ".join(str(error).encode("ascii", "ignore").decode().split()))
            msg = f"{where}={data!r} is refused by Ultralytics: {said.rstrip('.')}; mend the data YAML"
            raise ConfigurationError(msg) from error
