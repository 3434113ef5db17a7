"""Managers whose launchers end in every way, without a training; Ultralytics is not loaded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import wandb

from scenarios.calls import run_named
from ultralytics_wb_ddp import WandbManager
from ultralytics_wb_ddp.utils.progress import status, track

CFG: dict[str, Any] = {"wandb": {"project": "demo"}}


def begin() -> WandbManager:
    """Return a manager whose run has a row."""
    manager = WandbManager(CFG, "job")
    manager.initialize()
    manager.run.log({"before": 1})
    return manager


def be_terminated() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)


def only_open() -> None:
    WandbManager(CFG, "job").initialize()


def be_terminated_while_opening(mark: str) -> None:
    def terminate() -> None:
        while not Path(mark).exists():
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=terminate, daemon=True).start()
    only_open()
    time.sleep(60)


def press_ctrl_c_while_opening() -> None:
    def interrupt() -> None:
        while wandb.run is None:  # it is set before wandb.init has come to its end
            time.sleep(0.0001)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with WandbManager(CFG, "job"):
        time.sleep(10)


def close_and_end(how: str) -> None:
    manager = begin()
    manager.prepare_for_training()
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "terminated":
        be_terminated()
    if how == "failed":
        raise ValueError  # and if "done", another job trains


def be_interrupted() -> None:
    with WandbManager(CFG, "job") as manager:
        manager.run.log({"before": 1})
        raise KeyboardInterrupt


def end_in_the_block(how: str) -> None:
    with WandbManager(CFG, "job"):
        if how == "SystemExit(3)":
            raise SystemExit(3)
        if how == "sys.exit(4)":
            sys.exit(4)
        raise ZeroDivisionError


def be_killed_with_children() -> None:
    begin()
    for child in psutil.Process().children():  # as Ray does
        child.kill()
    os.kill(os.getpid(), signal.SIGKILL)


def finish_twice() -> None:
    manager = begin()
    manager.finish(exit_code=3)
    manager.finish()


def watch_a_preempted_process() -> None:
    with subprocess.Popen([sys.executable, sys.argv[0], "be_preempted"]) as process:
        exit_code = process.wait()
        commands = [other.info["cmdline"] or [] for other in psutil.process_iter(["cmdline"])]
    service = "ultralytics_wb_ddp.runs.service_process"
    beside = [words for words in commands if service in words and str(process.pid) in words]
    print("exit code", exit_code, "beside it", beside)


def be_preempted() -> None:
    begin()
    be_terminated()


def close_and_take_back() -> None:
    with WandbManager(CFG, "job") as manager:
        for _ in range(3):
            manager.run.log({"before": 1})
        manager.prepare_for_training()
        manager.resume_after_training()
        manager.run.log({"after": 1})


def show_progress() -> None:
    with WandbManager(CFG, "job"):
        print("a terminal:", sys.stderr.isatty())
        with status("what goes on"):
            list(track([1, 2, 3], "counting"))


if __name__ == "__main__":
    run_named(globals())
