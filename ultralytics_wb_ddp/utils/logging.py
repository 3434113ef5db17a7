"""The package's logger, whose messages need no set-up and leave an application's own in charge; words in messages."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

_was_terminal = sys.stderr is not None and sys.stderr.isatty()


class _FallbackHandler(logging.StreamHandler):  # type: ignore[type-arg]  # not subscriptable at run time in Python 3.10
    """Print to what stderr is by then, as long as the application has not configured logging itself."""

    @property
    def stream(self) -> Any:
        """The stream to print to."""
        return sys.stderr

    @stream.setter
    def stream(self, stream: Any) -> None:
        """Ignore the stream of the start."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            super().emit(record)


def _prefix_rank(record: logging.LogRecord) -> bool:
    """Say which rank a message is from, and keep from the others what the main process says anyway."""
    rank = os.environ.get("RANK", "-1")
    if rank in {"", "-1"}:
        return True
    if not str(record.msg).startswith("[RANK "):
        record.msg = f"[RANK {rank}] {record.msg}"
    return rank == "0" or record.levelno >= logging.WARNING


logger = logging.getLogger("ultralytics_wb_ddp")


def is_interactive() -> bool:
    """Return whether somebody sees what is written to stderr as it is written.

    W&B's ``console="redirect"`` puts a terminal of its own in the place of a log file or a pipe.
    """
    return sys.stderr.isatty() and (_was_terminal or sys.stderr is not sys.__stderr__)


def format_exception(error: BaseException) -> str:
    """Return what went wrong: the kind of an error and its text."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def relative_path(path: Path) -> str:
    """Return a path as one would type it here."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


if not logger.handlers:
    _handler = _FallbackHandler()
    _handler.setFormatter(logging.Formatter("ultralytics_wb_ddp: %(levelname)s: %(message)s"))
    logger.addHandler(_handler)
    logger.addFilter(_prefix_rank)
    _quiet = os.environ.get("YOLO_VERBOSE", "true").lower() == "false"  # who silences Ultralytics means its callbacks
    logger.setLevel(logging.WARNING if _quiet else logging.INFO)
