"""Unit tests mirror the rooms of the package and start no process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

STARTS_PROCESS = frozenset({"subprocess.Popen", "os.posix_spawn", "os.fork", "os.forkpty", "os.exec", "os.system"})
OF_LIBRARIES = frozenset({"git", "ldconfig", "uname"})  # which torch, wandb and Python ask about the machine, once
_started: list[str] = []


def _note_process(event: str, arguments: tuple[Any, ...]) -> None:
    if event in STARTS_PROCESS and Path(str(arguments[0] if arguments else "")).name not in OF_LIBRARIES:
        _started.append(f"{event} {arguments[0] if arguments else ''}")


sys.addaudithook(_note_process)


@pytest.fixture(autouse=True)
def _no_process_is_started() -> Iterator[None]:
    """Fail a test that starts a process: it belongs to ``tests/integration`` or ``tests/e2e``."""
    _started.clear()
    yield
    assert _started == []
