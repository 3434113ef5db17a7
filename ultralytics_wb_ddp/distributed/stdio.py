"""Keep a worker's standard output writable when its launcher is gone."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, TextIO

_output_file: list[Path] = []  # where what is printed goes once nobody reads it any more


class _FailsafeStream:
    """A standard stream that does not fail when its reader is gone.

    W&B's ``console="redirect"`` reads what the workers print in the launcher. After its end each line that Ultralytics
    prints would raise, and end a training that nothing else is wrong with.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, if need be to a file of the training's."""
        try:
            return self._stream.write(text)
        except OSError:
            self._redirect()
            return self._stream.write(text)

    def flush(self) -> None:
        """Flush, if need be to a file of the training's."""
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
    """In a worker, go on printing to a file when the launcher that reads it has ended.

    Args:
        file: The file; None prints to nowhere.
    """
    if file:
        _output_file[:] = [file]
    if not isinstance(sys.stdout, _FailsafeStream):
        sys.stdout, sys.stderr = _FailsafeStream(sys.stdout), _FailsafeStream(sys.stderr)
