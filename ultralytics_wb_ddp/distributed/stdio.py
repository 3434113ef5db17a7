"""Keep a worker's standard output writable when its launcher is gone."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, TextIO

_output_file: list[Path] = []  # receives the output once its reader is gone


class _FailsafeStream:
    """A standard stream that does not fail when its reader is gone.

    With W&B's ``console="redirect"`` the launcher reads the output of the workers. After the launcher's end, each line
    that Ultralytics prints would raise and end the training.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write to the stream, or to the training's file if that fails."""
        try:
            return self._stream.write(text)
        except OSError:
            self._redirect()
            return self._stream.write(text)

    def flush(self) -> None:
        """Flush the stream, or the training's file if that fails."""
        try:
            self._stream.flush()
        except OSError:
            self._redirect()

    def _redirect(self) -> None:
        file = _output_file[-1] if _output_file else Path(os.devnull)
        with file.open("ab") as target:
            os.dup2(target.fileno(), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def keep_output_writable(file: Path | None = None) -> None:
    """Send a worker's output to a file, or nowhere without one, once its launcher has ended."""
    if file:
        _output_file[:] = [file]
    if not isinstance(sys.stdout, _FailsafeStream):
        sys.stdout, sys.stderr = _FailsafeStream(sys.stdout), _FailsafeStream(sys.stderr)
