"""Act on SIGTERM from a thread, even while the process waits in a collective."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing import util
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.distributed.processes import _let_thread_end, _terminated

if TYPE_CHECKING:
    from collections.abc import Callable


SIGTERM_EXIT_CODE = (
    128 + signal.SIGTERM
)  # exit code of a process that SIGTERM has ended, as shells and schedulers have it
_termination_handler: list[Callable[[], Any]] = []


def on_termination(act: Callable[[], Any]) -> None:
    """Do something when SIGTERM arrives, and end the process then; what an earlier call has asked for is replaced.

    A handler in Python never runs while the process waits in a collective. The interpreter's own writes a byte to a
    file descriptor even then, and a thread waits for it. A handler that somebody else has set is left in charge.
    """
    if _termination_handler:
        _termination_handler[:] = [act]
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
    _termination_handler[:] = [act]
    signal.signal(signal.SIGTERM, _ignore_in_main_thread)
    os.register_at_fork(after_in_child=_reset_in_child)
    thread = threading.Thread(target=_wait_for_termination, args=(reader,), name="wandb-ddp-sigterm", daemon=True)
    thread.start()
    atexit.register(_let_thread_end, thread)
    if multiprocessing.parent_process() is not None:  # it ends without what is registered there
        util.Finalize(None, _let_thread_end, (thread,), exitpriority=1)


def _ignore_in_main_thread(*_: Any) -> None:
    """Do nothing here, where it might never be done, but note it before this thread can reach its end."""
    _terminated.set()


def _reset_in_child() -> None:
    """In a forked process, such as one that loads data, SIGTERM is that process's own affair again."""
    _terminated.clear()
    signal.set_wakeup_fd(-1)
    if signal.getsignal(signal.SIGTERM) is _ignore_in_main_thread:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _wait_for_termination(reader: int) -> None:
    while signal.SIGTERM not in os.read(reader, 1):  # it is told of every signal that has a handler
        pass
    _terminated.set()
    try:
        _termination_handler[0]()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(SIGTERM_EXIT_CODE)
