"""Act on SIGTERM from a thread, even during a collective."""

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
)  # exit code of a process that SIGTERM has ended, the same as in shells and schedulers
_termination_handler: list[Callable[[], Any]] = []
_early_handler: list[Callable[..., Any]] = []


def on_termination(act: Callable[[], Any]) -> None:
    """Call a function when SIGTERM arrives, then end the process.

    A later call replaces the function. A Python handler never runs while the process waits in a collective. The
    interpreter's C handler writes a byte to a file descriptor even then, and a thread waits for the byte. An existing
    handler for SIGTERM stays in place; the function is not called then.
    """
    if _termination_handler:
        _termination_handler[:] = [act]
        return
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, *_early_handler):
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    previous_fd = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    if previous_fd != -1:  # other code, such as asyncio, already waits for signals here
        signal.set_wakeup_fd(previous_fd)
        return
    _termination_handler[:] = [act]
    signal.signal(signal.SIGTERM, _ignore_in_main_thread)
    os.register_at_fork(after_in_child=_reset_in_child)
    thread = threading.Thread(target=_wait_for_termination, args=(reader,), name="wandb-ddp-sigterm", daemon=True)
    thread.start()
    atexit.register(_let_thread_end, thread)
    if multiprocessing.parent_process() is not None:  # a process of multiprocessing ends without atexit
        util.Finalize(None, _let_thread_end, (thread,), exitpriority=1)


def on_early_termination(act: Callable[[], Any]) -> None:
    """Call a function when SIGTERM arrives, then end the process, until :func:`on_termination` is called.

    It needs no thread, but a process that waits in a collective does not act on the signal.
    """

    def end(*_: Any) -> None:
        act()
        os._exit(SIGTERM_EXIT_CODE)

    _early_handler[:] = [end]
    signal.signal(signal.SIGTERM, end)


def is_terminated_within(seconds: float) -> bool:
    """Return whether SIGTERM has arrived or arrives within some seconds, which the function waits at most."""
    return bool(_termination_handler) and _terminated.wait(seconds)


def _ignore_in_main_thread(*_: Any) -> None:
    """Set the flag before the main thread can end."""
    _terminated.set()


def _reset_in_child() -> None:
    """Restore SIGTERM's default in a forked process, such as a data loader."""
    _terminated.clear()
    signal.set_wakeup_fd(-1)
    if signal.getsignal(signal.SIGTERM) is _ignore_in_main_thread:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _wait_for_termination(reader: int) -> None:
    while signal.SIGTERM not in os.read(reader, 1):  # every signal with a handler writes a byte
        pass
    _terminated.set()
    try:
        _termination_handler[0]()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(SIGTERM_EXIT_CODE)
