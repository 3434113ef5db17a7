"""The package's logger: its messages reach the terminal without any set-up, and an application's own set-up wins."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

__all__ = ["logger"]


class _Fallback(logging.StreamHandler):  # type: ignore[type-arg]  # not subscriptable at run time in Python 3.10
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


logger = logging.getLogger("ultralytics_wb_ddp")
if not logger.handlers:
    _handler = _Fallback()
    _handler.setFormatter(logging.Formatter("ultralytics_wb_ddp: %(levelname)s: %(message)s"))
    logger.addHandler(_handler)
    _quiet = os.environ.get("YOLO_VERBOSE", "true").lower() == "false"  # who silences Ultralytics means its callbacks
    logger.setLevel(logging.WARNING if _quiet else logging.INFO)
