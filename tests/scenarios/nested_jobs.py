"""A job that starts a script with a manager of its own."""

from __future__ import annotations

import subprocess
import sys

from scenarios.calls import run_named
from ultralytics_wb_ddp import WandbManager

CFG = {"wandb": {"project": "demo"}}


def outer() -> None:
    with WandbManager(CFG, "job") as manager:
        manager.run.log({"outer": 1})
        subprocess.run([sys.executable, __file__, "inner"], check=True)
        manager.run.log({"outer": 2})


def inner() -> None:
    with WandbManager(CFG, "job") as manager:
        manager.run.log({"outer": 1})
        manager.run.log({"outer": 2})


if __name__ == "__main__":
    run_named(globals())
