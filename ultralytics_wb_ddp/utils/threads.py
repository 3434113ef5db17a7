"""Run work in threads, so that the training does not wait."""

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
    """Import modules in a background thread.

    A later ``import`` of a module waits only for the rest of its import. An error is ignored here; the later ``import``
    raises it again.
    """

    def work() -> None:
        for name in names:
            with contextlib.suppress(Exception):
                import_module(name)

    threading.Thread(target=work, name="wandb-ddp-import", daemon=True).start()


def run_in_thread(name: str, work: Callable[[], T]) -> Future[T]:
    """Run a function in a thread of its own, whose name has a suffix, and return a future."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  # raised by Future.result()
            future.set_exception(error)

    threading.Thread(target=run, name=f"wandb-ddp-{name}", daemon=True).start()
    return future


class BackgroundQueue:
    """Queue of jobs that run in order in a daemon thread.

    The thread starts with the first job, and ends by :meth:`close`. A job handles its own errors: an exception ends the
    thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def submit(self, job: Callable[[], None]) -> None:
        """Run a job after the jobs before it."""
        if self._is_closed:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        self._jobs.put(job)

    @property
    def is_started(self) -> bool:
        """Whether a job was submitted."""
        return self._thread is not None

    def drain(self, timeout: float) -> bool:
        """Wait for all submitted jobs, ``timeout`` seconds at most, and return whether they are finished.

        In the thread of the queue itself, which cannot wait for itself, the answer is True.
        """
        if self._thread is None or self._thread is threading.current_thread():
            return True
        finished = threading.Event()
        self._jobs.put(finished.set)
        return finished.wait(timeout)

    def close(self) -> None:
        """End the thread after the submitted jobs, without waiting. Later jobs are dropped."""
        self._is_closed = True
        self._jobs.put(None)

    def _work(self) -> None:
        while job := self._jobs.get():
            job()
