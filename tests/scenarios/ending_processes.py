"""Processes that are terminated, and processes whose output nothing reads any longer."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

from scenarios.calls import run_named
from ultralytics_wb_ddp.distributed.signals import on_termination
from ultralytics_wb_ddp.distributed.stdio import keep_output_writable


def print_beyond_the_reader(directory: str) -> None:
    keep_output_writable(Path(directory, "output.log"))
    print("read", flush=True)
    input()
    print("unread", flush=True)
    print("as well", flush=True)
    Path(directory, "alive").touch()


def terminate_itself(end: str) -> None:
    on_termination(lambda: time.sleep(1))
    os.kill(os.getpid(), signal.SIGTERM)
    if end == "raise":
        raise RuntimeError
    if end != "return":
        sys.exit(int(end))


def terminate_itself_in_a_child(end: str) -> None:
    child = multiprocessing.get_context("spawn").Process(target=terminate_itself, args=(end,))
    child.start()
    child.join()
    sys.exit(child.exitcode)


def exit_by_itself() -> None:
    on_termination(lambda: time.sleep(1))
    sys.exit(3)


if __name__ == "__main__":
    run_named(globals())
