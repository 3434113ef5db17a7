"""Trainings that continue a run: after an interruption, of a manager, of the script or of the environment."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import wandb
from ultralytics import YOLO

from scenarios.common import CFG, ONE_PROCESS, TWO_PROCESSES, last_checkpoint, new_model, run_named
from ultralytics_wb_ddp import WandbManager, add_wandb_callback, callbacks


def interrupt_in_epoch_2(trainer: Any) -> None:
    if trainer.epoch == 1:
        raise InterruptedError


def train_until_interrupted(**options: Any) -> None:
    model = new_model()
    add_wandb_callback(model, **options)
    model.add_callback("on_train_epoch_start", interrupt_in_epoch_2)
    try:
        model.train(**ONE_PROCESS)
    except InterruptedError:
        print("interrupted")


def resume() -> None:
    train_until_interrupted()
    model = YOLO(last_checkpoint())
    add_wandb_callback(model)
    model.train(resume=True)


def resume_on_another_machine() -> None:
    here = str(Path.cwd())
    train_until_interrupted(dir=here)
    Path("elsewhere").mkdir()
    shutil.move(last_checkpoint(), "elsewhere/last.pt")
    shutil.rmtree("train")
    model = YOLO("elsewhere/last.pt")
    add_wandb_callback(model, dir=here)
    model.train(resume=True)


def resume_into_a_given_run() -> None:
    os.environ["WANDB_MODE"] = "offline"
    train_until_interrupted(project="demo")
    os.environ["WANDB_MODE"] = "online"
    model = YOLO(last_checkpoint())
    with wandb.init(project="demo", id="given") as run:
        add_wandb_callback(model, run=run)
        model.train(resume=True)


def forget_to_prepare() -> None:
    model = new_model()
    with WandbManager(CFG, "job") as manager:
        manager.run.log({"before": 1})
        add_wandb_callback(model)
        model.train(**TWO_PROCESSES)
        manager.run.log({"after": 1})


def train_into_the_active_run() -> None:
    model = new_model()
    run = wandb.init(project="demo")
    for event, function in callbacks.items():
        model.add_callback(event, function)
    model.train(**TWO_PROCESSES)
    run.log({"after": 1})


def train_into_the_run_of_the_environment() -> None:
    model = new_model()
    add_wandb_callback(model)
    model.train(**TWO_PROCESSES)


def train_in_the_managers_process() -> None:
    model = new_model()
    with WandbManager(CFG, "job") as manager:
        add_wandb_callback(model)
        manager.prepare_for_training()
        model.train(**ONE_PROCESS)
        manager.resume_after_training()
        manager.run.log({"after": 1})


def variables_of_runs() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if "WANDB" in name or "EXPERIMENT" in name}


def train_two_jobs() -> None:
    before = variables_of_runs()
    for number in (1, 2):
        model = new_model()
        with WandbManager(CFG, f"job-{number}") as manager:
            add_wandb_callback(model)
            manager.prepare_for_training()
            model.train(**{**TWO_PROCESSES, "name": f"train-{number}", "epochs": 1})
            manager.resume_after_training()
            manager.run.log({"number": number})
        print("AS BEFORE", variables_of_runs() == before)


def fail_in_epoch_2(trainer: Any) -> None:
    if trainer.epoch == 1 and os.environ["RANK"] == "0":
        message = "the training's own fault"
        raise RuntimeError(message)


def train_and_fail(model: YOLO) -> None:
    model.add_callback("on_train_epoch_start", fail_in_epoch_2)
    try:
        model.train(**TWO_PROCESSES)
    except subprocess.CalledProcessError as error:
        print("LAUNCHER SAW", error.returncode)
        raise


def fail_in_rank_0(usage: str) -> None:
    model = new_model()
    if usage == "A":
        run = wandb.init(project="demo")
        add_wandb_callback(model, run=run)
        train_and_fail(model)
    elif usage == "B":
        with WandbManager(CFG, "job"):
            add_wandb_callback(model)
            train_and_fail(model)
    else:
        for event, function in callbacks.items():
            model.add_callback(event, function)
        train_and_fail(model)


if __name__ == "__main__":
    run_named(globals())
