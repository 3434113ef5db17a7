"""Trainings that log checkpoints, and one each that fails, stores them in S3, damages them or logs none."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from scenarios.common import ONE_PROCESS, TWO_PROCESSES, new_model, run_named
from ultralytics_wb_ddp import add_wandb_callback


def note_optimizer(trainer: Any) -> None:
    """Add the sum of this rank's optimizer state to a file."""
    state = trainer.optimizer.state_dict()["state"]
    parts = [part for entry in state.values() for _, part in sorted(entry.items()) if part is not None]
    total = sum(float(part.detach().double().abs().sum()) for part in parts if part.numel() > 1)
    with Path(f"optimizer-{os.environ['RANK']}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps([trainer.epoch + 1, total]) + "\n")


def fail_in_epoch_2_of(trainer: Any) -> None:
    if trainer.epoch == 1:
        msg = "in epoch 2"
        raise RuntimeError(msg)


def damage_best(trainer: Any) -> None:
    trainer.best.write_bytes(trainer.best.read_bytes()[:1000])


def train_in_two_processes() -> None:
    model = new_model()
    model.add_callback("on_train_epoch_end", note_optimizer)
    add_wandb_callback(model, project="demo", mode="online", checkpoints="best+last", checkpoint_interval=2)
    model.train(**{**TWO_PROCESSES, "epochs": 3, "optimizer": "SGD", "nbs": 8})


def fail_in_epoch_2() -> None:
    model = new_model()
    model.add_callback("on_train_batch_end", fail_in_epoch_2_of)
    add_wandb_callback(model, checkpoints="best+last")
    model.train(**ONE_PROCESS)


def store_in_s3(bucket: str) -> None:
    model = new_model()
    add_wandb_callback(
        model,
        project="demo",
        mode="online",
        checkpoint_store=f"s3://{bucket}/models",
        link="wandb-registry-model/yolo",
    )
    model.train(**{**ONE_PROCESS, "epochs": 1})


def damage_the_best_checkpoint() -> None:
    model = new_model()
    model.callbacks["on_train_end"].append(damage_best)
    add_wandb_callback(model, on_error="raise")
    model.train(**{**ONE_PROCESS, "epochs": 1})


def log_no_checkpoints() -> None:
    model = new_model()
    add_wandb_callback(model, checkpoints="none")
    model.train(**{**ONE_PROCESS, "epochs": 1})


if __name__ == "__main__":
    run_named(globals())
