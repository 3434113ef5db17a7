"""Arguments of ``model.train`` checked before anything is started, by the release of Ultralytics that is installed."""

from __future__ import annotations

import difflib
import logging
import re
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config.validation import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

__all__ = ["check_train_arguments", "quiet"]


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
        fitting, problem = value, _problem(name, value, default)
        if isinstance(value, str) and (problem or isinstance(default, bool)):
            stands_for = _from_text(value)
            if not isinstance(stands_for, str) and not _problem(name, stands_for, default):
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

    with quiet():
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

    if isinstance(name, str) and not isinstance(_complaint(name, value), SyntaxError):
        return
    close = difflib.get_close_matches(str(name), known, n=1)
    remedy = f"did you mean {close[0]!r}?" if close else "https://docs.ultralytics.com/usage/cfg lists them"
    msg = f"{where}: {name!r} is no training argument of Ultralytics {ultralytics.__version__}; {remedy}"
    raise ConfigurationError(msg)


def _problem(name: str, value: Any, default: Any) -> str | None:
    """Return what is wrong with a value, or None; ``default`` is Ultralytics' own.

    Ultralytics leaves some types unchecked, others only in some releases: what has a number by default needs a number,
    and what has a string a string.
    """
    if complaint := _complaint(name, value):
        return str(complaint)
    is_number = isinstance(default, (int, float)) and not isinstance(default, bool)
    if is_number and isinstance(value, (bool, str)):
        return f"{value!r} is of type {type(value).__name__}; a number is expected, such as {default}"
    if isinstance(default, str) and value is not None and not isinstance(value, str):
        return f"{value!r} is of type {type(value).__name__}; a string is expected, such as {default!r}"
    return None


def _complaint(name: str, value: Any) -> Exception | None:
    """Return what Ultralytics says against an argument, without the pages of help that it prints beside that."""
    from ultralytics.cfg import get_cfg

    with quiet():
        try:
            get_cfg(overrides={name: value})
        except (AttributeError, SyntaxError, TypeError, ValueError) as error:
            return error
    return None


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what Ultralytics says, but for its errors, out of the output."""
    from ultralytics.utils import LOGGER

    level = LOGGER.level
    LOGGER.setLevel(logging.ERROR)
    try:
        yield
    finally:
        LOGGER.setLevel(level)


def _from_text(text: str) -> Any:
    """Return the number or the switch that a text stands for; the text itself if it stands for none."""
    word = text.strip().lower()
    if word in {"true", "false"}:
        return word == "true"
    for kind in (int, float):
        with suppress(ValueError):
            return kind(word)
    return text
