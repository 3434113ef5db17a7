"""Two trainings in one run that count every prediction, and one that collects no mistakes."""

from __future__ import annotations

import wandb

from scenarios.common import ONE_PROCESS, new_model, run_named
from ultralytics_wb_ddp import add_wandb_callback


def train_twice_and_without_mistakes() -> None:
    model, run = new_model(), wandb.init(project="demo")
    settings = {**ONE_PROCESS, "epochs": 1, "conf": 1e-6}
    add_wandb_callback(model, run=run, mistakes=3)
    model.train(**settings)
    model.train(**{**settings, "name": "again"})
    run.finish()
    add_wandb_callback(model, mistakes=0)
    model.train(**{**settings, "name": "none"})


if __name__ == "__main__":
    run_named(globals())
