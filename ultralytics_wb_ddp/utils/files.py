"""Write files that readers see complete or not at all."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def write_json(file: Path, content: Any) -> None:
    """Write a JSON file atomically.

    A reader sees the complete file or no file, also after a crash.
    """
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    with draft.open("w", encoding="utf-8") as stream:
        stream.write(json.dumps(content, indent=2) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(file)


def append_line(file: Path, line: str) -> None:
    """Append a line to a file that several processes append to. The line is on disk when this returns.

    Args:
        file: File to append to, created if absent.
        line: The line, without its end.
    """
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, f"{line}\n".encode())  # one write: lines of other processes cannot come between
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
