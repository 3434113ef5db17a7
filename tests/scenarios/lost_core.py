"""A session whose wandb-core dies while it logs; Ultralytics is not loaded."""

from __future__ import annotations

import time
from pathlib import Path

import psutil

from scenarios.calls import run_named
from ultralytics_wb_ddp.config.options import RunOptions
from ultralytics_wb_ddp.distributed.topology import RankPlan
from ultralytics_wb_ddp.runs.open_runs import registry
from ultralytics_wb_ddp.runs.resolution import RunResolution, open_run


def lose_wandb_core() -> None:
    session = open_run(RunResolution("new", RunOptions(project="demo"), base_id="abc", plan=RankPlan("abc")))
    assert session
    session.start(Path("train"))
    session.log({"epoch": 1}, is_best=False)
    time.sleep(2)  # it is on disk within a second, and sent every 15
    (held,) = registry.opened.values()
    for process in psutil.Process(held.service_process.pid).children():
        process.kill()
    time.sleep(1)
    session.log({"epoch": 2}, is_best=False)
    session.close(0)


if __name__ == "__main__":
    run_named(globals())
