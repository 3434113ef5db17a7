"""A thread beside the training: what a row needs besides being logged does not take the training's time."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Background"]


class Background:
    """Does jobs one after the other, in a thread that begins with the first one and ends with the process.

    A job deals with its own errors.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def do(self, job: Callable[[], None]) -> None:
        """Do a job when those before it are done."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def settle(self, timeout: float) -> bool:
        """Wait until everything is done that was asked for.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether it is done.
        """
        if self._thread is None or self._thread is threading.current_thread():
            return True
        done = threading.Event()
        self._jobs.put(done.set)
        return done.wait(timeout)

    def _work(self) -> None:
        while True:
            self._jobs.get()()
