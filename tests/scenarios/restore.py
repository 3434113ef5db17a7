"""A training whose machine is lost, and its end on another one."""

from __future__ import annotations

import os
from typing import Any

from ultralytics import YOLO

from scenarios.common import ONE_PROCESS, new_model, run_named
from ultralytics_wb_ddp import add_wandb_callback, restore_checkpoint
from ultralytics_wb_ddp.testing.cpu_trainers import CpuDDPTrainer


def fail_in_epoch_3(trainer: Any) -> None:
    if trainer.epoch == 2:
        msg = "the machine is gone"
        raise RuntimeError(msg)


def lose_the_machine_in_epoch_3() -> None:
    model = new_model()
    model.add_callback("on_train_epoch_start", fail_in_epoch_3)
    add_wandb_callback(model, project="demo", checkpoints="best+last", checkpoint_interval=1)
    model.train(**{**ONE_PROCESS, "epochs": 4})


def go_on_in_two_processes(run: str) -> None:
    model = YOLO(restore_checkpoint(run, "here", data=os.environ["DATA"]))
    add_wandb_callback(model)
    model.train(resume=True, trainer=CpuDDPTrainer, device="0,1")


if __name__ == "__main__":
    run_named(globals())
