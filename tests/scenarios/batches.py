"""Trainings whose batches are logged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ultralytics import YOLO

from scenarios.common import ONE_PROCESS, TWO_PROCESSES, last_checkpoint, new_model, run_named
from ultralytics_wb_ddp import add_wandb_callback


def note_the_batch(trainer: Any) -> None:
    rates = {f"batch/lr/pg{number}": group["lr"] for number, group in enumerate(trainer.optimizer.param_groups)}
    row = {**trainer.label_loss_items(trainer.loss_items, prefix="batch"), **rates}
    with Path("batches.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def fail_in_epoch_3(trainer: Any) -> None:
    if trainer.epoch == 2:
        raise RuntimeError


def log_every_second_batch(model: YOLO) -> None:
    add_wandb_callback(model, batch_interval=2)
    model.add_callback("on_train_batch_end", note_the_batch)


def train_three_epochs_with_an_interruption() -> None:
    model = new_model()
    log_every_second_batch(model)
    model.add_callback("on_train_epoch_start", fail_in_epoch_3)
    try:
        model.train(**{**ONE_PROCESS, "batch": 4, "epochs": 3})
    except RuntimeError:
        model = YOLO(last_checkpoint())
        log_every_second_batch(model)
        model.train(resume=True)


def log_each_batch(processes: str) -> None:
    model = new_model()
    add_wandb_callback(model, batch_interval=1)
    model.train(**(TWO_PROCESSES if processes == "2" else ONE_PROCESS))


if __name__ == "__main__":
    run_named(globals())
