"""Set up the package's logger and format values for its messages.

The logger works without configuration and leaves the logging of an application as it is.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

EVERY_RANK = {"is_for_every_rank": True}  # ``extra`` of an information that each rank logs, not rank 0 alone
_was_terminal = sys.stderr is not None and sys.stderr.isatty()


class _FallbackHandler(logging.StreamHandler):  # type: ignore[type-arg]  # not subscriptable at run time in Python 3.10
    """Print to the current stderr until the application configures logging itself."""

    @property
    def stream(self) -> Any:
        """The current stderr."""
        return sys.stderr

    @stream.setter
    def stream(self, stream: Any) -> None:
        """Ignore the stream that ``StreamHandler`` sets when it is created."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            super().emit(record)


def _prefix_rank(record: logging.LogRecord) -> bool:
    """Prefix a message with its rank. Ranks other than 0 log warnings, errors and messages of ``EVERY_RANK`` only."""
    rank = os.environ.get("RANK", "-1")
    if rank in {"", "-1"}:
        return True
    if not str(record.msg).startswith("[RANK "):
        record.msg = f"[RANK {rank}] {record.msg}"
    return rank == "0" or record.levelno >= logging.WARNING or getattr(record, "is_for_every_rank", False)


logger = logging.getLogger("ultralytics_wb_ddp")


def is_interactive() -> bool:
    """Return whether stderr is a terminal that a person watches.

    W&B's ``console="redirect"`` replaces a log file or a pipe by a terminal of its own, which does not count.
    """
    return sys.stderr.isatty() and (_was_terminal or sys.stderr is not sys.__stderr__)


def format_exception(error: BaseException) -> str:
    """Return the class name of an error and its text."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def pluralize(number: int | str, noun: str) -> str:
    """Return a number and a noun in its singular or plural.

    Args:
        number: The number, or a text that ends with it.
        noun: The singular.
    """
    return f"{number} {noun}{'' if str(number).split()[-1] == '1' else 's'}"


def relative_path(path: Path) -> str:
    """Return a path inside the working directory as a relative path."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


if not logger.handlers:
    _handler = _FallbackHandler()
    _handler.setFormatter(logging.Formatter("ultralytics_wb_ddp: %(levelname)s: %(message)s"))
    logger.addHandler(_handler)
    logger.addFilter(_prefix_rank)
    _quiet = os.environ.get("YOLO_VERBOSE", "true").lower() == "false"  # YOLO_VERBOSE silences callbacks, too
    logger.setLevel(logging.WARNING if _quiet else logging.INFO)
