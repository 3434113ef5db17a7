"""Find launchers, workers and torchrun processes, and end a launch."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from typing_extensions import Self


SERVICE_PROCESS_MODULE = "ultralytics_wb_ddp.runs.service_process"  # an argument of the service process's command
LAUNCH_END_TIMEOUT = 35.0  # seconds; torchrun gives workers 30 before it kills them
LAUNCH_POLL_INTERVAL = 0.1  # seconds between two checks of a launch that is being ended
START_TIME_TOLERANCE = 30.0  # seconds by which a process's start may seem to move: the clock of the host can be set
_parent_pid = os.getppid()
_is_torchrun_lost = threading.Event()
_terminated = threading.Event()  # whether SIGTERM has arrived: its exit code wins over any other


@dataclass(frozen=True)
class ProcessIdentity:
    """A process, with the data to find it again later.

    Attributes:
        started: Start of the process in seconds since 1970: process ids are used again.
    """

    host: str
    pid: int
    started: float

    @classmethod
    def of_this_process(cls) -> Self:
        """Return the identity of this process."""
        return cls(socket.gethostname(), os.getpid(), psutil.Process().create_time())

    @property
    def is_of_this_host(self) -> bool:
        """Whether the process runs on this host."""
        return self.host == socket.gethostname()

    def is_alive(self) -> bool:
        """Return whether a process of this host still runs."""
        try:
            process = psutil.Process(self.pid)
            is_same = abs(process.create_time() - self.started) < START_TIME_TOLERANCE
            return bool(is_same and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return False


@dataclass(frozen=True)
class Launcher(ProcessIdentity):
    """The process that has launched this training.

    Attributes:
        datasets: Number of datasets that its ``model.train`` trains on, one after the other.
    """

    datasets: int = 1

    @classmethod
    def of_this_process(cls) -> Self:
        """Return the identity of this process."""
        return replace(super().of_this_process(), datasets=count_datasets())

    def is_lost(self) -> bool:
        """Return, in a worker, whether the launcher or the torchrun above it has ended."""
        if not self.is_of_this_host or self.pid == os.getpid():
            return False
        return os.getppid() != _parent_pid or not self.is_alive()


def count_datasets() -> int:
    """Return the number of datasets of the current ``model.train``.

    For a list of datasets, Ultralytics runs one training after the other. A trainer does not know of the others.
    """
    frame = sys._getframe()  # noqa: SLF001  # no public API, and inspect reads source files
    while frame.f_back:
        frame = frame.f_back
        caller: Any = frame.f_locals.get("self") if frame.f_code.co_name == "train" else None
        if type(caller).__name__ == "MultiTrainer":
            return len(caller.args["data"])
    return 1


def is_worker() -> bool:
    """Return whether a launcher or torchrun started this process as a worker."""
    return "LOCAL_RANK" in os.environ


def is_training_process(trainer: Any) -> bool:
    """Return whether this process trains.

    Ultralytics 8.3.184 to 8.3.199 fires the first event in a launcher, too.
    """
    if is_worker():
        return True
    devices = trainer.args.device
    several = len(devices) > 1 if isinstance(devices, (list, tuple)) else "," in str(devices)
    return not getattr(trainer, "ddp", several)


def _let_thread_end(thread: threading.Thread) -> None:
    """Wait for the SIGTERM thread at exit: it sets the exit code.

    The signal usually reaches torchrun and the data loaders, too. The main thread then fails because they have ended,
    and would exit first.
    """
    if _terminated.is_set():
        thread.join()


def note_lost_torchrun() -> None:
    """Note that the torchrun of this worker has ended before its workers were connected."""
    _is_torchrun_lost.set()


def has_dead_peer() -> bool:
    """Return whether another worker of this node is gone, or torchrun before its workers were connected.

    Torchrun terminates the rest if a worker is gone: this is no preemption. Workers that end together with this one
    stay zombies until torchrun checks them.
    """
    if not is_worker():
        return False
    if _is_torchrun_lost.is_set():
        return True
    try:
        children = psutil.Process(os.getppid()).children()
        # If torchrun is the first process of a container, service processes become its children, too.
        workers = [child for child in children if not _command_contains(child, SERVICE_PROCESS_MODULE)]
    except psutil.Error:
        return False
    return len(workers) < int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def find_torchrun_children() -> list[psutil.Process]:
    """Return the torchrun processes that this launcher waits for."""
    return [process for process in psutil.Process().children() if _command_contains(process, "torch.distributed")]


def _command_contains(process: psutil.Process, name: str) -> bool:
    try:
        return any(name in argument for argument in process.cmdline())
    except psutil.Error:
        return False


def terminate_workers() -> bool:
    """End the workers of this launcher, wait for their end and return whether there were any.

    The function polls and never calls ``wait``: that could take the exit code away from the ``subprocess`` that waits
    in another thread and would then report success.
    """
    launches = find_torchrun_children()
    for process in launches:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    deadline = time.monotonic() + LAUNCH_END_TIMEOUT
    while find_torchrun_children() and time.monotonic() < deadline:
        time.sleep(LAUNCH_POLL_INTERVAL)
    return bool(launches)
