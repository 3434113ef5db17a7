"""Check the training arguments and the dataset with the installed Ultralytics."""

from __future__ import annotations

import difflib
import logging
import re
from contextlib import contextmanager, suppress
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config.validation import ConfigurationError
from ultralytics_wb_ddp.config.yaml_file import describe_yaml_error

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping


YAML = {".yaml", ".yml"}


def check_data(
    data: Any, where: str, *, needed: bool, own_format: bool = False, task: Callable[[], str | None] = lambda: None
) -> None:
    """Check that a dataset exists and is complete.

    A missing ``data`` is an error if it is needed, because Ultralytics would then train on a default dataset. The check
    downloads nothing: images may be missing if the data YAML has a ``download`` entry. A name without a path is not
    checked, because it may be a classification dataset that Ultralytics downloads. With ``own_format`` the trainer
    reads the dataset itself, in any format. ``task`` is called only if needed, and returns None for an unknown task.

    Raises:
        ConfigurationError: The dataset is missing, or Ultralytics would refuse the dataset.
    """
    if data is None and needed:
        msg = f"{where} is missing; name the dataset, such as {where}=coco8.yaml"
        raise ConfigurationError(msg)
    for dataset in data if isinstance(data, list) else [data]:
        if not isinstance(dataset, (str, NoneType)) and not own_format:
            msg = f"{where}={data!r}: {dataset!r} is no dataset; name a data YAML, or a directory of images to classify"
            raise ConfigurationError(msg)
        if isinstance(dataset, str) and "://" not in dataset:
            file = _find(dataset, where)
            if not own_format and (file.suffix in YAML or file.is_dir()):
                _check_content(dataset, str(file), where, task())


def _find(data: str, where: str) -> Path:
    from ultralytics.utils import DATASETS_DIR
    from ultralytics.utils.checks import check_file

    path = Path(data)
    if path.suffix in YAML:
        dataset_path = check_file(data, download=False, hard=False)
    else:
        dataset_path = data if len(path.parts) == 1 or path.exists() or (DATASETS_DIR / path).exists() else ""
    if not dataset_path:
        msg = f"{where}={data!r}: there is no such file, here or in Ultralytics; check the path"
        raise ConfigurationError(msg)
    return Path(str(dataset_path))


def _check_content(data: str, file: str, where: str, task: str | None) -> None:
    if task == "classify":
        _check_images(data, where)
    elif Path(file).suffix in YAML:
        _check_yaml(data, file, where)
    elif task:
        _check_by_ultralytics(data, where, "give its data YAML")


def _check_images(data: str, where: str) -> None:
    """Check that a classification dataset has a directory ``train``."""
    folder = Path(data)
    if not folder.is_dir():
        msg = f"{where}={data!r} is a data YAML, and a model that classifies takes a directory: train/CLASS/IMAGE"
        raise ConfigurationError(msg)
    if not (folder / "train").is_dir():
        msg = f"{where}={data!r} has no directory 'train', in which a model that classifies has one for each class"
        raise ConfigurationError(msg)


def _check_yaml(data: str, file: str, where: str) -> None:
    from yaml import YAMLError, safe_load

    text = Path(file).read_text(encoding="utf-8", errors="replace")
    try:
        content = safe_load(text)
    except YAMLError as error:
        line, reason = describe_yaml_error(error, text)
        msg = f"{where}={data!r} cannot be read{f' in line {line}' if line else ''} ({reason}); mend the YAML"
        raise ConfigurationError(msg) from error
    if not isinstance(content, dict):
        msg = f"{where}={data!r} holds no 'name: value' lines; it needs train, val and names"
        raise ConfigurationError(msg)
    _check_by_ultralytics(data, where, "mend the data YAML", gets_images=bool(content.get("download")))


def _check_by_ultralytics(data: str, where: str, remedy: str, *, gets_images: bool = False) -> None:
    """Check a dataset with Ultralytics, whose training may download missing images."""
    from ultralytics.data.utils import check_det_dataset

    with quiet_ultralytics():
        try:
            check_det_dataset(data, autodownload=False)
        except (AssertionError, AttributeError, OSError, SyntaxError, TypeError, ValueError) as error:
            if isinstance(error, FileNotFoundError) and gets_images:
                return
            reason = re.sub(r"\s+([.,;])", r"\1", " ".join(str(error).encode("ascii", "ignore").decode().split()))
            msg = f"{where}={data!r} is refused by Ultralytics: {reason.rstrip('.')}; {remedy}"
            raise ConfigurationError(msg) from error


def check_train_arguments(
    values: Mapping[str, Any], where: str, *, also: Collection[str] = (), trainer: type | None = None
) -> dict[str, Any]:
    """Return the checked arguments of ``model.train``, by name, type and range.

    The rules are those of the installed Ultralytics, which this function imports. A string with a number or a boolean,
    such as the value of an environment variable, is converted if the argument needs a number or a boolean. Names in
    ``also`` are allowed, too; their values are returned unchanged. The trainer class defines the optimizers. ``where``
    names the section in messages: ``"train"`` gives ``train.epochs``.

    Raises:
        ConfigurationError: A value is wrong, or this release does not know a name. The message suggests the nearest
            known name.
    """
    from ultralytics.utils import DEFAULT_CFG_DICT

    checked = {}
    for name, value in values.items():
        if name in also:
            checked[name] = value
            continue
        if name not in DEFAULT_CFG_DICT:
            _check_name(name, value, where, [*DEFAULT_CFG_DICT, *also])
        default = DEFAULT_CFG_DICT.get(name)
        fitting, problem = value, _validate(name, value, default)
        if isinstance(value, str) and (problem or isinstance(default, bool)):
            literal = _parse_literal(value)
            if not isinstance(literal, str) and not _validate(name, literal, default):
                fitting, problem = literal, None
        if problem:
            msg = f"{where}.{name}: {problem}"
            raise ConfigurationError(msg)
        checked[name] = fitting
    if isinstance(optimizer := checked.get("optimizer"), str) and "optimizer" not in also:
        _check_optimizer(optimizer, where, trainer)
    return checked


def _check_optimizer(name: str, where: str, trainer: Any) -> None:
    """Reject an unknown optimizer. The trainer's error message lists the known optimizers."""
    import torch
    import ultralytics
    from ultralytics.engine.trainer import BaseTrainer

    with quiet_ultralytics():
        try:
            (trainer or BaseTrainer).build_optimizer(None, torch.nn.Linear(1, 1), name=name)
        except NotImplementedError as error:
            match = re.search(r"[\[{]([^\]}]*)[\]}]", str(error))
            known = sorted(re.findall(r"\w+", match[1]), key=str.lower) if match else []
        except Exception:  # noqa: BLE001  # the trainer knows the name, but needs more attributes
            return
        else:
            return
    by_lower_name = {optimizer.lower(): optimizer for optimizer in known}
    close = difflib.get_close_matches(name.lower(), by_lower_name, n=1)
    remedy = f"did you mean {by_lower_name[close[0]]!r}?" if close else f"choose one of {', '.join(known) or 'its own'}"
    msg = f"{where}.optimizer={name!r} is unknown to Ultralytics {ultralytics.__version__}; {remedy}"
    raise ConfigurationError(msg)


def _check_name(name: Any, value: Any, where: str, known: list[str]) -> None:
    """Reject an unknown name. Deprecated names that Ultralytics accepts are allowed."""
    import ultralytics

    if isinstance(name, str) and not isinstance(_ultralytics_error(name, value), SyntaxError):
        return
    close = difflib.get_close_matches(str(name), known, n=1)
    remedy = f"did you mean {close[0]!r}?" if close else "https://docs.ultralytics.com/usage/cfg lists them"
    msg = f"{where}: {name!r} is no training argument of Ultralytics {ultralytics.__version__}; {remedy}"
    raise ConfigurationError(msg)


def _validate(name: str, value: Any, default: Any) -> str | None:
    """Return the problem of a value; None without a problem.

    Ultralytics does not check all types, and releases differ. Therefore an argument with a number as its default needs
    a number, and an argument with a string as its default needs a string.
    """
    if complaint := _ultralytics_error(name, value):
        return str(complaint)
    is_number = isinstance(default, (int, float)) and not isinstance(default, bool)
    if is_number and isinstance(value, (bool, str)):
        return f"{value!r} is of type {type(value).__name__}; a number is expected, such as {default}"
    if isinstance(default, str) and value is not None and not isinstance(value, str):
        return f"{value!r} is of type {type(value).__name__}; a string is expected, such as {default!r}"
    return None


def _ultralytics_error(name: str, value: Any) -> Exception | None:
    """Return the error of Ultralytics for an argument, without the printed help."""
    from ultralytics.cfg import get_cfg

    with quiet_ultralytics():
        try:
            get_cfg(overrides={name: value})
        except (AttributeError, SyntaxError, TypeError, ValueError) as error:
            return error
    return None


@contextmanager
def quiet_ultralytics() -> Iterator[None]:
    """Suppress the log of Ultralytics except for errors."""
    from ultralytics.utils import LOGGER

    level = LOGGER.level
    LOGGER.setLevel(logging.ERROR)
    try:
        yield
    finally:
        LOGGER.setLevel(level)


def _parse_literal(text: str) -> Any:
    lowered = text.strip().lower()
    if lowered in {"true", "false"}:
        return lowered == "true"
    for kind in (int, float):
        with suppress(ValueError):
            return kind(lowered)
    return text
