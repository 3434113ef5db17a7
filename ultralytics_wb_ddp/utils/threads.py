"""Threads beside the training: what need not take its time does not."""

from __future__ import annotations

import contextlib
import queue
import threading
from concurrent.futures import Future
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable


T = TypeVar("T")


def preload(*names: str) -> None:
    """Import modules in a thread of their own: who needs one then waits for the rest of its import only.

    One that cannot be imported is left to who needs it, and so is the error.
    """

    def work() -> None:
        for name in names:
            with contextlib.suppress(Exception):
                import_module(name)

    threading.Thread(target=work, name="wandb-ddp-import", daemon=True).start()


def run_in_thread(name: str, work: Callable[[], T]) -> Future[T]:
    """Do something in a thread of its own.

    Returns:
        What gives its result, or raises its error.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  # raised again where it is wanted
            future.set_exception(error)

    threading.Thread(target=run, name=f"wandb-ddp-{name}", daemon=True).start()
    return future


class BackgroundQueue:
    """Does jobs one after the other, in a thread that begins with the first one and ends with the process.

    A job deals with its own errors.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, job: Callable[[], None]) -> None:
        """Do a job when those before it are done."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def drain(self, timeout: float) -> bool:
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
