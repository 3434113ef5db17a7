"""Check the training arguments and the dataset of a job by the installed Ultralytics."""

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
        line, reason = describe_yaml_error(error, text)
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

    with quiet_ultralytics():
        try:
            check_det_dataset(data, autodownload=False)
        except (AssertionError, AttributeError, OSError, SyntaxError, TypeError, ValueError) as error:
            if isinstance(error, FileNotFoundError) and gets_images:
                return
            said = re.sub(r"\s+([.,;])", r"\1", " ".join(str(error).encode("ascii", "ignore").decode().split()))
            msg = f"{where}={data!r} is refused by Ultralytics: {said.rstrip('.')}; {remedy}"
            raise ConfigurationError(msg) from error


def check_train_arguments(
    values: Mapping[str, Any], where: str, *, also: Collection[str] = (), trainer: type | None = None
) -> dict[str, Any]:
    """Check arguments of ``model.train`` by name, type and range, as the training itself would.

    Strings that stand for a number or a switch, as environment variables have them, become one where one is needed.
    Imports Ultralytics.

    Args:
        values: The arguments by name, as plain data.
        where: What they were written into, for messages: ``"train"`` makes it ``train.epochs``.
        also: Names that are allowed besides; their values are returned as they are.
        trainer: Trainer class, which knows its optimizers; None is Ultralytics' own.

    Returns:
        The arguments, to be given to ``model.train``.

    Raises:
        ConfigurationError: One is unknown to this release, and the nearest known one is suggested, or its value is
            wrong.
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
            stands_for = _parse_literal(value)
            if not isinstance(stands_for, str) and not _validate(name, stands_for, default):
                fitting, problem = stands_for, None
        if problem:
            msg = f"{where}.{name}: {problem}"
            raise ConfigurationError(msg)
        checked[name] = fitting
    if isinstance(optimizer := checked.get("optimizer"), str) and "optimizer" not in also:
        _check_optimizer(optimizer, where, trainer)
    return checked


def _check_optimizer(name: str, where: str, trainer: Any) -> None:
    """Refuse an optimizer that the trainer does not know; it is asked for one, and lists in its refusal what it has."""
    import torch
    import ultralytics
    from ultralytics.engine.trainer import BaseTrainer

    with quiet_ultralytics():
        try:
            (trainer or BaseTrainer).build_optimizer(None, torch.nn.Linear(1, 1), name=name)
        except NotImplementedError as error:
            listed = re.search(r"[\[{]([^\]}]*)[\]}]", str(error))
            known = sorted(re.findall(r"\w+", listed[1]), key=str.lower) if listed else []
        except Exception:  # noqa: BLE001  # it knows the name, and needs more than there is here
            return
        else:
            return
    by_word = {each.lower(): each for each in known}
    close = difflib.get_close_matches(name.lower(), by_word, n=1)
    remedy = f"did you mean {by_word[close[0]]!r}?" if close else f"choose one of {', '.join(known) or 'its own'}"
    msg = f"{where}.optimizer={name!r} is unknown to Ultralytics {ultralytics.__version__}; {remedy}"
    raise ConfigurationError(msg)


def _check_name(name: Any, value: Any, where: str, known: list[str]) -> None:
    """Refuse a name that is neither known nor an old one that Ultralytics still takes."""
    import ultralytics

    if isinstance(name, str) and not isinstance(_ultralytics_error(name, value), SyntaxError):
        return
    close = difflib.get_close_matches(str(name), known, n=1)
    remedy = f"did you mean {close[0]!r}?" if close else "https://docs.ultralytics.com/usage/cfg lists them"
    msg = f"{where}: {name!r} is no training argument of Ultralytics {ultralytics.__version__}; {remedy}"
    raise ConfigurationError(msg)


def _validate(name: str, value: Any, default: Any) -> str | None:
    """Return what is wrong with a value, or None; ``default`` is Ultralytics' own.

    Ultralytics leaves some types unchecked, others only in some releases: what has a number by default needs a number,
    and what has a string a string.
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
    """Return what Ultralytics says against an argument, without the pages of help that it prints beside that."""
    from ultralytics.cfg import get_cfg

    with quiet_ultralytics():
        try:
            get_cfg(overrides={name: value})
        except (AttributeError, SyntaxError, TypeError, ValueError) as error:
            return error
    return None


@contextmanager
def quiet_ultralytics() -> Iterator[None]:
    """Keep what Ultralytics says, but for its errors, out of the output."""
    from ultralytics.utils import LOGGER

    level = LOGGER.level
    LOGGER.setLevel(logging.ERROR)
    try:
        yield
    finally:
        LOGGER.setLevel(level)


def _parse_literal(text: str) -> Any:
    """Return the number or the switch that a text stands for; the text itself if it stands for none."""
    word = text.strip().lower()
    if word in {"true", "false"}:
        return word == "true"
    for kind in (int, float):
        with suppress(ValueError):
            return kind(word)
    return text
