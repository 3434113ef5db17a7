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


SERVICE_PROCESS_MODULE = "ultralytics_wb_ddp.runs.service_process"  # among the words of its command
LAUNCH_END_TIMEOUT = 35.0  # seconds; torchrun gives workers 30 before it kills them
LAUNCH_POLL_INTERVAL = 0.1  # seconds between two looks at a launch that is being ended
START_TIME_TOLERANCE = (
    30.0  # seconds by which a process's start may seem to move: it is told by a clock that can be set
)
_parent_pid = os.getppid()
_terminated = threading.Event()  # whether SIGTERM has arrived: this process ends with its exit code, whatever else


@dataclass(frozen=True)
class ProcessIdentity:
    """A process that others can look for later.

    Attributes:
        host: Name of its host.
        pid: Its process id.
        started: When it was started, in seconds since 1970: process ids are used again.
    """

    host: str
    pid: int
    started: float

    @classmethod
    def here(cls) -> Self:
        """Return this process."""
        return cls(socket.gethostname(), os.getpid(), psutil.Process().create_time())

    @property
    def is_of_this_host(self) -> bool:
        """Whether it can be looked for here."""
        return self.host == socket.gethostname()

    def is_alive(self) -> bool:
        """Return whether it still runs; it is of this host."""
        try:
            process = psutil.Process(self.pid)
            is_it = abs(process.create_time() - self.started) < START_TIME_TOLERANCE
            return bool(is_it and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return False


@dataclass(frozen=True)
class Launcher(ProcessIdentity):
    """The process that has launched this training.

    Attributes:
        datasets: How many datasets its ``model.train`` trains on, one after the other.
    """

    datasets: int = 1

    @classmethod
    def here(cls) -> Self:
        """Return this process."""
        return replace(super().here(), datasets=count_datasets())

    def is_lost(self) -> bool:
        """Return, in one of its workers, whether it or the torchrun between the two has ended."""
        if not self.is_of_this_host or self.pid == os.getpid():
            return False
        return os.getppid() != _parent_pid or not self.is_alive()


def count_datasets() -> int:
    """Return how many datasets the ``model.train`` that goes on here trains on, one after the other.

    With a list of them Ultralytics makes a training of each, and none of these trainings is told of the others.
    """
    frame = sys._getframe()  # noqa: SLF001  # no public way, and inspect reads source files
    while frame.f_back:
        frame = frame.f_back
        caller: Any = frame.f_locals.get("self") if frame.f_code.co_name == "train" else None
        if type(caller).__name__ == "MultiTrainer":
            return len(caller.args["data"])
    return 1


def is_worker() -> bool:
    """Return whether a launcher or torchrun has started this process as one of several."""
    return "LOCAL_RANK" in os.environ


def is_training_process(trainer: Any) -> bool:
    """Return whether this process trains; releases 8.3.184 to 8.3.199 fire the first event in a launcher, too."""
    if is_worker():
        return True
    devices = trainer.args.device
    several = len(devices) > 1 if isinstance(devices, (list, tuple)) else "," in str(devices)
    return not getattr(trainer, "ddp", several)


def _let_thread_end(thread: threading.Thread) -> None:
    """At the end of a process that SIGTERM has reached, leave the exit code to the thread that waits for it.

    The signal reaches torchrun and the processes that load data, too, as a rule: the main thread fails because these
    have ended, and would be faster.
    """
    if _terminated.is_set():
        thread.join()


def has_dead_peer() -> bool:
    """Return whether another worker of this node is gone: torchrun then terminates the rest, nobody preempts them.

    Workers that are ended together with this one are still there, if only as zombies, until torchrun looks.
    """
    if not is_worker():
        return False
    try:
        children = psutil.Process(os.getppid()).children()
        # Where torchrun is the first process of a container, it gets the processes beside runs as children, too.
        workers = [child for child in children if not _command_contains(child, SERVICE_PROCESS_MODULE)]
    except psutil.Error:
        return False
    return len(workers) < int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def find_torchrun_children() -> list[psutil.Process]:
    """Return, in a launcher, the processes of torchrun that it is waiting for."""
    return [process for process in psutil.Process().children() if _command_contains(process, "torch.distributed")]


def _command_contains(process: psutil.Process, name: str) -> bool:
    """Return whether a name is part of a process's command; not of one that has just ended."""
    try:
        return any(name in word for word in process.cmdline())
    except psutil.Error:
        return False


def terminate_workers() -> bool:
    """In a launcher, end the launch that is going on and wait until it is over; returns whether there was one.

    It only looks on: a wait of its own could take the exit code away from the ``subprocess`` that waits in another
    thread, which then takes the launch for a success.
    """
    launches = find_torchrun_children()
    for process in launches:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    deadline = time.monotonic() + LAUNCH_END_TIMEOUT
    while find_torchrun_children() and time.monotonic() < deadline:
        time.sleep(LAUNCH_POLL_INTERVAL)
    return bool(launches)
