"""A training whose machine is lost, and its end on another one.

Each rank notes the state of its optimizer at the end of each epoch.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ultralytics import YOLO

from scenarios.common import ONE_PROCESS, new_model, run_named
from ultralytics_wb_ddp import add_wandb_callback, restore_checkpoint
from ultralytics_wb_ddp.testing.cpu_trainers import CpuDDPTrainer


def note_optimizer(trainer: Any) -> None:
    """Add the sum of this rank's optimizer state to a file."""
    state = trainer.optimizer.state_dict()["state"]
    parts = [part for entry in state.values() for _, part in sorted(entry.items()) if part is not None]
    total = sum(float(part.detach().double().abs().sum()) for part in parts if part.numel() > 1)
    with Path(f"optimizer-{os.environ.get('RANK', '0')}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps([trainer.epoch + 1, total]) + "\n")


def fail_in_epoch_4(trainer: Any) -> None:
    if trainer.epoch == 3:
        msg = "the machine is gone"
        raise RuntimeError(msg)


def register(model: YOLO) -> None:
    model.add_callback("on_train_epoch_end", note_optimizer)
    add_wandb_callback(model, project="demo", checkpoints="best+last", checkpoint_interval=2)


def lose_the_machine_in_epoch_4() -> None:
    model = new_model()
    model.add_callback("on_train_epoch_start", fail_in_epoch_4)
    register(model)
    model.train(**{**ONE_PROCESS, "epochs": 5, "optimizer": "SGD", "nbs": 8})


def go_on_in_two_processes(run: str) -> None:
    model = YOLO(restore_checkpoint(run, "here", data=os.environ["DATA"]))
    register(model)
    model.train(resume=True, trainer=CpuDDPTrainer, device="0,1")


if __name__ == "__main__":
    run_named(globals())
