"""Trainings that are interrupted at an event of an epoch, changed while they go on, or follow each other in one run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import wandb
from ultralytics import YOLO

from scenarios.common import CFG, ONE_PROCESS, TWO_PROCESSES, last_checkpoint, new_model, run_named
from ultralytics_wb_ddp import WandbCallback, WandbManager, add_wandb_callback

Functions = Iterable[tuple[str, Callable[[Any], None]]]
SETTINGS_OF = {"1": ONE_PROCESS, "2": TWO_PROCESSES}


class StoppedError(Exception):
    """A fault of the user's code."""


def session(
    functions: Functions,
    event: str = "",
    epoch: int = 0,
    error: type[BaseException] = StoppedError,
    **arguments: Any,
) -> None:
    """Train, or go on where the session before has stopped.

    Args:
        functions: Callbacks of the session, by event.
        event: Event that raises an error; empty for a session that ends well.
        epoch: Epoch of the error, counted from 1.
        error: The error.
        arguments: Arguments of the training.
    """
    trainers: list[Any] = []

    def fail(_: Any) -> None:  # some events come with the validator
        if trainers[-1].epoch == epoch - 1:
            raise error

    is_resumed = Path(last_checkpoint()).exists()
    model = YOLO(last_checkpoint()) if is_resumed else new_model()
    if event:
        model.add_callback("on_train_epoch_start", trainers.append)
    if event == "on_fit_epoch_end":  # before the row is logged
        model.add_callback(event, fail)
    for name, function in functions:
        model.add_callback(name, function)
    if event and event != "on_fit_epoch_end":
        model.add_callback(event, fail)
    try:
        model.train(**({"resume": True, "val": arguments["val"]} if is_resumed else arguments))
    except (error, SystemExit):
        assert event, "it ends well"


def validate_in_epoch_2(trainer: Any) -> None:
    trainer.args.val = trainer.epoch == 1


def validate_seldom() -> None:
    """Train five epochs of which the second and the last are validated; the third fails when it is saved."""

    def functions() -> Functions:
        return [("on_train_epoch_start", validate_in_epoch_2), *WandbCallback(batch_interval=1).callbacks.items()]

    settings = {**ONE_PROCESS, "val": False}
    session(functions(), "on_model_save", 3, **{**settings, "epochs": 5})
    session(functions(), **settings)


def interrupt_each_event() -> None:
    def functions() -> Functions:
        return WandbCallback(batch_interval=1).callbacks.items()

    settings = {**ONE_PROCESS, "batch": 4, "epochs": 4, "val": True}
    session(functions(), "on_train_batch_end", 2, **settings)
    session(functions(), "on_train_epoch_end", 2, **settings)
    session(functions(), "on_val_start", 2, KeyboardInterrupt, **settings)
    session(functions(), "on_model_save", 2, SystemExit, **settings)
    session(functions(), "on_fit_epoch_end", 3, **settings)
    session(functions(), **settings)


def train_until_killed(epoch: str) -> None:
    """Train, or go on, until the process is killed while an epoch, counted from 1, is saved."""

    def kill(trainer: Any) -> None:
        if trainer.epoch == int(epoch) - 1:
            os.kill(os.getpid(), signal.SIGKILL)

    is_resumed = Path(last_checkpoint()).exists()
    model = YOLO(last_checkpoint()) if is_resumed else new_model()
    model.add_callback("on_model_save", kill)
    add_wandb_callback(model)
    model.train(**({"resume": True} if is_resumed else {**ONE_PROCESS, "epochs": 3}))


def train_after_two_kills() -> None:
    for epoch in ("1", "2"):
        subprocess.run([sys.executable, __file__, "train_until_killed", epoch], check=False)
    session(WandbCallback().callbacks.items(), val=True)


def fail_in_rank_0(trainer: Any) -> None:
    if trainer.epoch == 1 and not trainer.args.resume and os.environ["RANK"] == "0":
        raise RuntimeError


def resume_the_run_of_each_rank() -> None:
    def train(model: YOLO, **arguments: Any) -> None:
        model.add_callback("on_train_epoch_end", fail_in_rank_0)
        add_wandb_callback(model, run_mode="new", batch_interval=1)
        model.train(**{**TWO_PROCESSES, **arguments})

    try:
        train(new_model(), epochs=3)
    except subprocess.CalledProcessError:
        train(YOLO(last_checkpoint()), resume=True)


def run_out_of_memory_once(trainer: Any) -> None:
    preprocess, calls = trainer.preprocess_batch, []

    def fail_once(batch: Any) -> Any:
        calls.append(batch)
        if len(calls) == 2:
            message = "CUDA out of memory. Tried to allocate 2.00 GiB"
            raise torch.cuda.OutOfMemoryError(message)
        return preprocess(batch)

    trainer.preprocess_batch = fail_once


def note_the_facts(trainer: Any) -> None:
    facts = {"epochs": trainer.epochs, "batch": trainer.batch_size, "optimizer": type(trainer.optimizer).__name__}
    Path("facts.json").write_text(json.dumps(facts), encoding="utf-8")


def run_out_of_memory() -> None:
    model = new_model()
    model.add_callback("on_train_start", run_out_of_memory_once)
    model.add_callback("on_train_end", note_the_facts)
    add_wandb_callback(model, batch_interval=1)
    model.train(**{**ONE_PROCESS, "time": 0.001})


def train_in_turn(training: str, processes: str, **registered: Any) -> None:
    """Train on two datasets, or twice, and write down the best values of the run that is open."""
    model = new_model()
    add_wandb_callback(model, **registered)
    settings = {**SETTINGS_OF[processes], "epochs": 1, "name": None}
    if training == "datasets":
        model.train(**{**settings, "data": [os.environ["DATA"]] * 2})
    else:
        model.train(**settings)
        model.train(**settings)
    summary = wandb.run.summary
    values = {key: summary[key]["min"] for key in summary.keys() if key.startswith("train/")}  # noqa: SIM118
    Path("summary.json").write_text(json.dumps(values), encoding="utf-8")


def train_in_turn_in_one_run(whose: str, training: str, processes: str) -> None:
    if whose == "users":
        run = wandb.init(project="demo")
        train_in_turn(training, processes, run=run)
        run.finish()
    else:
        manager = WandbManager(CFG, job_name="twice")
        manager.initialize()
        train_in_turn(training, processes)
        manager.finish()


def train_on_two_datasets() -> None:
    model = new_model()
    add_wandb_callback(model)
    model.train(**{**ONE_PROCESS, "epochs": 1, "data": [os.environ["DATA"]] * 2})


if __name__ == "__main__":
    run_named(globals())
