"""Several trainings, and runs that others use at the same time."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import wandb

from scenarios.common import CFG, ONE_PROCESS, TWO_PROCESSES, new_model, run_named
from ultralytics_wb_ddp import WandbManager, add_wandb_callback

ONE_EPOCH = {**ONE_PROCESS, "epochs": 1}


def finish_what_is_not_the_users(_: Any) -> None:
    wandb.finish()


def train_folds() -> None:
    for fold in range(2):
        model = new_model()
        model.add_callback("on_train_start", finish_what_is_not_the_users)
        add_wandb_callback(model, project="demo", name=f"fold-{fold}", group="folds")
        model.train(**{**ONE_EPOCH, "name": f"fold-{fold}"})


def finish_the_managers_run() -> None:
    model = new_model()
    model.add_callback("on_train_start", finish_what_is_not_the_users)
    with WandbManager(CFG, "job"):
        add_wandb_callback(model)
        model.train(**ONE_EPOCH)


def train_with_manager() -> None:
    model = new_model()
    with WandbManager(CFG, "job"):
        add_wandb_callback(model)
        model.train(**ONE_EPOCH)


def open_another_run_later() -> None:
    train_with_manager()
    later = wandb.init(project="demo", id="later")
    later.log({"x": 1})
    raise SystemExit(0)  # W&B finishes it at the end of the process


def train_alone() -> None:
    model = new_model()
    add_wandb_callback(model, project="demo")
    model.train(**ONE_EPOCH)


def terminate_in_epoch_2(trainer: Any) -> None:
    if trainer.epoch == 1:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)


def be_preempted(usage: str) -> None:
    model = new_model()
    if usage == "users":
        add_wandb_callback(model, run=wandb.init(project="demo"))
    else:
        add_wandb_callback(model, project="demo")
    model.add_callback("on_train_epoch_start", terminate_in_epoch_2)
    model.train(**ONE_PROCESS)


def run_sweep() -> None:
    goal = {"name": "best/epoch", "goal": "minimize"}
    sweep = {"method": "grid", "metric": goal, "parameters": {"lr0": {"values": [0.5]}}}
    model = new_model()

    def trial() -> None:
        with wandb.init(project="demo") as run:
            add_wandb_callback(model, run=run)
            model.train(**{**TWO_PROCESSES, "epochs": 1, "optimizer": "SGD"})

    wandb.agent(wandb.sweep(sweep, project="demo"), trial, count=1, project="demo")


if __name__ == "__main__":
    run_named(globals())
