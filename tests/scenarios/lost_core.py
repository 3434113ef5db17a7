"""A session whose wandb-core dies while it logs; Ultralytics is not loaded."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil

from scenarios.calls import run_named
from ultralytics_wb_ddp.config.options import RunOptions
from ultralytics_wb_ddp.distributed.topology import RankPlan
from ultralytics_wb_ddp.runs.handoff import Handoff
from ultralytics_wb_ddp.runs.lifecycle import finish_run, init_run
from ultralytics_wb_ddp.runs.open_runs import registry
from ultralytics_wb_ddp.runs.resolution import RunResolution, open_run

NEW_RUN = RunResolution("new", RunOptions(project="demo"), base_id="abc", plan=RankPlan("abc"))


def kill_wandb_core() -> None:
    (held,) = registry.opened.values()
    for process in psutil.Process(held.service_process.pid).children():
        process.kill()


def lose_wandb_core() -> None:
    session = open_run(NEW_RUN)
    assert session
    session.start(Path("train"))
    session.log({"epoch": 1}, is_best=False)
    time.sleep(2)  # it is on disk within a second, and sent every 15
    kill_wandb_core()
    time.sleep(1)
    session.log({"epoch": 2}, is_best=False)
    session.close(0)


def lose_the_last_row(end: str) -> None:
    """Log a row that a wandb-core that is killed has in memory only. The training, the owner or SIGTERM ends."""
    handoff = Handoff("abc", "demo")
    owner = init_run(RunOptions(project="demo"), run_id="abc", resume="allow") if end == "owner" else None
    resolution = RunResolution("adopt", RunOptions(), handoff, "abc") if owner else NEW_RUN
    session = open_run(resolution, owner)
    assert session
    session.start(Path("train"))
    session.log({"epoch": 1}, is_best=False)
    time.sleep(2)
    session.log({"epoch": 2}, is_best=False)
    if owner:
        session.close(0)
        time.sleep(0.2)  # before that, wandb-core may not have read what was sent to it
    kill_wandb_core()
    if owner:
        finish_run(owner, 0)
    elif end == "SIGTERM":
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    else:
        session.close(0)


if __name__ == "__main__":
    run_named(globals())
