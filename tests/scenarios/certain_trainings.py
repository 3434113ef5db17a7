"""Trainings that fail before they begin, and resumes that are refused."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import wandb
from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionTrainer

from scenarios.common import CFG, ONE_PROCESS, TWO_PROCESSES, last_checkpoint, new_model, run_named
from ultralytics_wb_ddp import WandbManager, add_wandb_callback, callbacks
from ultralytics_wb_ddp.runs.open_runs import registry

NO_DATA = {"data": "nowhere.yaml"}


class WithoutModel(DetectionTrainer):
    """A trainer whose model does not fit into memory."""

    def get_model(self, *_: Any, **__: Any) -> Any:
        raise MemoryError


class WithoutTeardown(DetectionTrainer):
    """A trainer that fires no teardown."""

    def run_callbacks(self, event: str) -> None:
        if event != "teardown":
            super().run_callbacks(event)


def register(model: YOLO, usage: str = "ours") -> None:
    """Register the callback in the package's way, or by hand."""
    if usage == "ours":
        add_wandb_callback(model, project="demo")
        return
    for event, function in callbacks.items():
        model.add_callback(event, function)


def fails(model: YOLO, **arguments: Any) -> None:
    """Train, which fails, and print the number of runs that are open then."""
    with contextlib.suppress(Exception):
        model.train(**arguments)
    print("OPEN", len(registry.opened))


def raise_memory_error(_: Any) -> None:
    raise MemoryError


def exit_in_epoch_2(trainer: Any) -> None:
    if trainer.epoch == 1:
        sys.exit(3)


def fail_before_the_training(usage: str) -> None:
    model = new_model()
    register(model, usage)
    fails(model, **{**ONE_PROCESS, **NO_DATA})
    fails(model, **ONE_PROCESS, trainer=WithoutModel)
    model.train(**{**ONE_PROCESS, "epochs": 1})


def fail_before_the_launch() -> None:
    model = new_model()
    register(model)
    fails(model, **{**TWO_PROCESSES, **NO_DATA})
    model.add_callback("on_pretrain_routine_start", raise_memory_error)
    fails(model, **TWO_PROCESSES)


def fail_with_a_run_of_the_user(how: str) -> None:
    model, run = new_model(), wandb.init(project="demo")
    add_wandb_callback(model, **({"run": run} if how == "given" else {}))
    try:
        model.train(**{**ONE_PROCESS, **NO_DATA})
    finally:
        run.finish()


def resume_finished_training(among: str) -> None:
    model = new_model()
    register(model)
    model.train(**{**ONE_PROCESS, "epochs": 1})
    record = Path("train/wandb_run.json").read_text(encoding="utf-8")

    def attempt(usage: str = "ours", **arguments: Any) -> None:
        again = YOLO(last_checkpoint())
        register(again, usage)
        try:
            again.train(**{**ONE_PROCESS, **arguments, "resume": last_checkpoint()})
        except Exception as error:
            print("REFUSED", type(error).__name__, error)
        print("RECORD", Path("train/wandb_run.json").read_text(encoding="utf-8") == record)

    attempt()
    if among == "two-processes":
        attempt(**TWO_PROCESSES)
    if among == "other-runs":
        with wandb.init(project="demo", id="of-the-user"):
            attempt()
        with WandbManager(CFG, "manager") as manager:
            manager.prepare_for_training()
            attempt()
        attempt("by-hand")


def fail_in_epoch_2() -> None:
    model = new_model()
    register(model)
    model.add_callback("on_train_epoch_start", exit_in_epoch_2)
    try:
        model.train(**ONE_PROCESS)
    except SystemExit:
        print("OPEN", len(registry.opened))


def fail_with_a_manager(when: str) -> None:
    CFG["wandb"]["finish_timeout"] = 10_000  # far beyond what the test waits for
    trainings: dict[str, Callable[[YOLO], Any]] = {
        "before-it-begins": lambda model: model.train(**{**ONE_PROCESS, **NO_DATA}),
        "without-teardown": lambda model: model.train(**ONE_PROCESS, trainer=WithoutTeardown),
    }
    model = new_model()
    if when == "without-teardown":
        model.add_callback("on_train_epoch_start", exit_in_epoch_2)
    with WandbManager(CFG, "job") as manager:
        add_wandb_callback(model)
        manager.prepare_for_training()
        trainings[when](model)


if __name__ == "__main__":
    run_named(globals())
