"""Trainings with the callback that meet trouble before they begin, with W&B, or in a user's code."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

import wandb

from scenarios.common import CFG, ONE_PROCESS, TWO_PROCESSES, new_model, run_named
from ultralytics_wb_ddp import WandbManager, add_wandb_callback, callbacks

KEPT = {"exist_ok": True}


class Counter:
    """A callback that holds a lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def count(self, trainer: Any) -> None:
        pass


def with_a_lock() -> Callable[[Any], object]:
    lock = threading.Lock()
    return lambda _: lock


def lose_the_classes(trainer: Any) -> None:
    trainer.validator.metrics.box.ap_class_index = None


def train(on_error: str = "warn") -> None:
    model = new_model()
    add_wandb_callback(model, on_error=cast("Literal['warn', 'raise']", on_error))
    model.train(**ONE_PROCESS)


def train_in_project_demo() -> None:
    model = new_model()
    add_wandb_callback(model, project="demo")
    model.train(**{**ONE_PROCESS, "epochs": 1})


def launch_by_hand() -> None:
    model = new_model()
    for event, function in callbacks.items():
        model.add_callback(event, function)
    model.train(**TWO_PROCESSES)


def train_with_a_finished_run() -> None:
    model = new_model()
    run = wandb.init(project="demo", config={"epochs": 99})
    run.log({"before": 1})
    run.finish()
    add_wandb_callback(model, run=run)
    model.train(**ONE_PROCESS)


def lose_the_classes_at_the_end() -> None:
    model = new_model()
    add_wandb_callback(model)
    model.callbacks["on_train_end"].insert(0, lose_the_classes)
    model.train(**{**ONE_PROCESS, "plots": True})


def train_with_plots_and_checkpoints(whose: str) -> None:
    model = new_model()
    run = wandb.init(project="demo") if whose == "users" else None
    add_wandb_callback(model, checkpoints="best+last", project="demo", run=run)
    model.train(**{**ONE_PROCESS, "epochs": 1, "plots": True})
    if run:
        run.finish()


def train_with_a_lock(where: str, processes: str) -> None:
    """Train with a callback that cannot be pickled, in the directory of an earlier training."""
    Path("train").mkdir()
    Path("train/of-yesterday.txt").touch()
    model = new_model()
    add_wandb_callback(model)
    model.add_callback("on_train_start", Counter().count if where == "method" else with_a_lock())
    if processes == "2":
        model.train(**{**TWO_PROCESSES, **KEPT})
    else:
        model.train(**{**ONE_PROCESS, **KEPT, "epochs": 1})


def overrule_the_manager() -> None:
    CFG["wandb"].update(checkpoints="none", rank_metrics=False, run_mode="new")
    model = new_model()
    with WandbManager(CFG, "job"):
        add_wandb_callback(model, strategy="main")
        model.train(**{**TWO_PROCESSES, "epochs": 1})


if __name__ == "__main__":
    run_named(globals())
