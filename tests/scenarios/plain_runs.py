"""Runs of W&B's client alone."""

from __future__ import annotations

import wandb

from scenarios.calls import run_named


def log_online() -> None:
    with wandb.init(project="demo", id="abc", settings={"init_timeout": 3}) as run:
        run.log({"x": 1})


def log_offline() -> None:
    with wandb.init(project="demo", id="kept", mode="offline") as run:
        run.log({"x": 1})


if __name__ == "__main__":
    run_named(globals())
