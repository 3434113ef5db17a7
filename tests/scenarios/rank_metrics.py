"""Trainings in two processes, of which one is slow, or that do without the numbers of ranks."""

from __future__ import annotations

import os
import time
from typing import Any

from scenarios.common import TWO_PROCESSES, new_model, run_named
from ultralytics_wb_ddp import add_wandb_callback


def load_slowly_in_epoch_1(trainer: Any) -> None:
    """Make rank 1 slow to load its images."""
    if os.environ["RANK"] == "1" and trainer.epoch == 0:
        dataset_type = type(trainer.train_loader.dataset)
        load = dataset_type.__getitem__

        def load_slowly(dataset: Any, index: int) -> Any:
            time.sleep(0.1)
            return load(dataset, index)

        dataset_type.__getitem__ = load_slowly


def fall_silent_in_epoch_2(trainer: Any) -> None:
    """Make rank 1 say nothing of its second epoch."""
    if os.environ["RANK"] == "1" and trainer.epoch == 1:
        for functions in trainer.callbacks.values():
            functions[:] = [function for function in functions if "WandbCallback" not in repr(function)]


def train_with_a_slow_and_silent_rank() -> None:
    model = new_model()
    model.add_callback("on_train_epoch_start", load_slowly_in_epoch_1)
    model.add_callback("on_train_epoch_end", fall_silent_in_epoch_2)
    add_wandb_callback(model)
    model.train(**TWO_PROCESSES)


def train_without_rank_metrics() -> None:
    model = new_model()
    add_wandb_callback(model, rank_metrics=False)
    model.train(**{**TWO_PROCESSES, "epochs": 1})


if __name__ == "__main__":
    run_named(globals())
