"""The processes of a launch as they see each other: whether the launcher lives, and how SIGTERM goes through them."""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass, replace
from multiprocessing import util
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

__all__ = [
    "TERMINATED",
    "KnownProcess",
    "Launcher",
    "a_peer_has_died",
    "datasets_in_turn",
    "find_launches",
    "is_worker",
    "on_termination",
    "protect_output",
    "terminate_workers",
    "trains_here",
]

TERMINATED = 128 + signal.SIGTERM  # exit code of a process that SIGTERM has ended, as shells and schedulers have it
SIDECAR = "ultralytics_wb_ddp.sidecar"  # among the words of its command
GRACE = 35.0  # seconds; torchrun gives workers 30 before it kills them
POLL = 0.1  # seconds between two looks at a launch that is being ended
CLOCK_STEP = 30.0  # seconds by which a process's start may seem to move: it is told by a clock that can be set

_parent = os.getppid()
_output_file: list[Path] = []  # where what is printed goes once nobody reads it any more
_on_termination: list[Callable[[], Any]] = []
_terminated = threading.Event()  # whether SIGTERM has arrived: this process ends with its exit code, whatever else


@dataclass(frozen=True)
class KnownProcess:
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

    def lives(self) -> bool:
        """Return whether it still runs; it is of this host."""
        try:
            process = psutil.Process(self.pid)
            is_it = abs(process.create_time() - self.started) < CLOCK_STEP
            return bool(is_it and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return False


@dataclass(frozen=True)
class Launcher(KnownProcess):
    """The process that has launched this training.

    Attributes:
        datasets: How many datasets its ``model.train`` trains on, one after the other.
    """

    datasets: int = 1

    @classmethod
    def here(cls) -> Self:
        """Return this process."""
        return replace(super().here(), datasets=datasets_in_turn())

    def is_gone(self) -> bool:
        """Return, in one of its workers, whether it or the torchrun between the two has ended."""
        if not self.is_of_this_host or self.pid == os.getpid():
            return False
        return os.getppid() != _parent or not self.lives()


def datasets_in_turn() -> int:
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


def trains_here(trainer: Any) -> bool:
    """Return whether this process trains; releases 8.3.184 to 8.3.199 fire the first event in a launcher, too."""
    if is_worker():
        return True
    devices = trainer.args.device
    several = len(devices) > 1 if isinstance(devices, (list, tuple)) else "," in str(devices)
    return not getattr(trainer, "ddp", several)


class _Outlet:
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


def protect_output(file: Path | None = None) -> None:
    """In a worker, go on printing to a file when the launcher that reads it has ended.

    Args:
        file: The file; None prints to nowhere.
    """
    if file:
        _output_file[:] = [file]
    if not isinstance(sys.stdout, _Outlet):
        sys.stdout, sys.stderr = _Outlet(sys.stdout), _Outlet(sys.stderr)


def on_termination(act: Callable[[], Any]) -> None:
    """Do something when SIGTERM arrives, and end the process then; what an earlier call has asked for is replaced.

    A handler in Python never runs while the process waits in a collective. The interpreter's own writes a byte to a
    file descriptor even then, and a thread waits for it. A handler that somebody else has set is left in charge.
    """
    if _on_termination:
        _on_termination[:] = [act]
        return
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    taken = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    if taken != -1:  # somebody else waits for signals in this way
        signal.set_wakeup_fd(taken)
        return
    _on_termination[:] = [act]
    signal.signal(signal.SIGTERM, _leave_to_thread)
    os.register_at_fork(after_in_child=_reset)
    thread = threading.Thread(target=_wait_for_termination, args=(reader,), name="wandb-ddp-sigterm", daemon=True)
    thread.start()
    atexit.register(_let_thread_end, thread)
    if multiprocessing.parent_process() is not None:  # it ends without what is registered there
        util.Finalize(None, _let_thread_end, (thread,), exitpriority=1)


def _leave_to_thread(*_: Any) -> None:
    """Do nothing here, where it might never be done, but note it before this thread can reach its end."""
    _terminated.set()


def _let_thread_end(thread: threading.Thread) -> None:
    """At the end of a process that SIGTERM has reached, leave the exit code to the thread that waits for it.

    The signal reaches torchrun and the processes that load data, too, as a rule: the main thread fails because these
    have ended, and would be faster.
    """
    if _terminated.is_set():
        thread.join()


def _reset() -> None:
    """In a forked process, such as one that loads data, SIGTERM is that process's own affair again."""
    _terminated.clear()
    signal.set_wakeup_fd(-1)
    if signal.getsignal(signal.SIGTERM) is _leave_to_thread:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _wait_for_termination(reader: int) -> None:
    while signal.SIGTERM not in os.read(reader, 1):  # it is told of every signal that has a handler
        pass
    _terminated.set()
    try:
        _on_termination[0]()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(TERMINATED)


def a_peer_has_died() -> bool:
    """Return whether another worker of this node is gone: torchrun then terminates the rest, nobody preempts them.

    Workers that are ended together with this one are still there, if only as zombies, until torchrun looks.
    """
    if not is_worker():
        return False
    try:
        children = psutil.Process(os.getppid()).children()
        # Where torchrun is the first process of a container, it gets the processes beside runs as children, too.
        workers = [child for child in children if not _mentions(child, SIDECAR)]
    except psutil.Error:
        return False
    return len(workers) < int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def find_launches() -> list[psutil.Process]:
    """Return, in a launcher, the processes of torchrun that it is waiting for."""
    return [process for process in psutil.Process().children() if _mentions(process, "torch.distributed")]


def _mentions(process: psutil.Process, name: str) -> bool:
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
    launches = find_launches()
    for process in launches:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    deadline = time.monotonic() + GRACE
    while find_launches() and time.monotonic() < deadline:
        time.sleep(POLL)
    return bool(launches)
