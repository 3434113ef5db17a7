"""Trainings that fail, that store their checkpoints in S3, that damage them, or that log none."""

from __future__ import annotations

from typing import Any

from scenarios.common import ONE_PROCESS, new_model, run_named
from ultralytics_wb_ddp import add_wandb_callback


def fail_in_epoch_2_of(trainer: Any) -> None:
    if trainer.epoch == 1:
        msg = "in epoch 2"
        raise RuntimeError(msg)


def damage_best(trainer: Any) -> None:
    trainer.best.write_bytes(trainer.best.read_bytes()[:1000])


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
