"""Trainings that log to runs of the user with odd ids."""

from __future__ import annotations

import wandb

from scenarios.common import ONE_PROCESS, new_model, run_named
from ultralytics_wb_ddp import add_wandb_callback, restore_checkpoint
from ultralytics_wb_ddp.artifacts.prune import find_checkpoints


def train_with_a_long_id() -> None:
    model = new_model()
    run = wandb.init(project="demo", mode="offline", id="größe lr=0.01 " + "x" * 114)
    add_wandb_callback(model, run=run)
    model.train(**ONE_PROCESS)
    run.finish()


def train_and_restore() -> None:
    model = new_model()
    run = wandb.init(project="demo", id="lr=0.01 bs=8")
    add_wandb_callback(model, run=run, checkpoints="all")
    model.train(**{**ONE_PROCESS, "epochs": 3})
    run.finish()
    print("VERSIONS", len(find_checkpoints(run.entity, run.project, run.id)))
    print("RESTORED", restore_checkpoint(f"{run.entity}/{run.project}/{run.id}", alias="epoch-2").is_file())


def train_without_checkpoints() -> None:
    model = new_model()
    run = wandb.init(project="demo", mode="offline", id="bare")
    add_wandb_callback(model, run=run, checkpoints="none")
    model.train(**ONE_PROCESS)
    run.finish()


if __name__ == "__main__":
    run_named(globals())
