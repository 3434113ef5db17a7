"""Trainings that start from weights in all the ways that Ultralytics has."""

from __future__ import annotations

import os
from typing import Any

from ultralytics import YOLO

from scenarios.common import ONE_PROCESS, new_model, run_named
from ultralytics_wb_ddp import add_wandb_callback
from ultralytics_wb_ddp.testing.cpu_trainers import CpuDDPTrainer

ARCHITECTURE = os.environ["MODEL"]


def save_checkpoints() -> None:
    for name in ("a.pt", "b.pt"):
        model = new_model()
        model.ckpt = model.ckpt or {}  # Ultralytics 8.3.0 cannot save it otherwise
        model.save(name)


def train(title: str, model: YOLO, **arguments: Any) -> YOLO:
    """Train a model in a run that has the title as its name."""
    add_wandb_callback(model, project="demo", mode="offline", name=title)
    model.train(**{**ONE_PROCESS, "epochs": 1, "val": False, "name": title, **arguments})
    return model


def train_in_one_process() -> None:
    save_checkpoints()
    train("checkpoint", YOLO("a.pt"))
    train("not pretrained", YOLO("a.pt"), pretrained=False)
    train("load", YOLO("a.pt").load("b.pt"))
    train("yaml", YOLO(ARCHITECTURE), pretrained=True)
    train("yaml load", YOLO(ARCHITECTURE).load("a.pt"))
    train("other pretrained", YOLO("a.pt"), pretrained="b.pt")
    fused = YOLO("a.pt")
    fused.fuse()
    model = train("fused", fused)
    train("second", model)
    model.load("b.pt")
    train("load after", model)


def train_in_two_processes() -> None:
    save_checkpoints()
    train("load", YOLO("a.pt").load("b.pt"), device="0,1", trainer=CpuDDPTrainer)
    train("not pretrained", YOLO("a.pt"), device="0,1", trainer=CpuDDPTrainer, pretrained=False)


if __name__ == "__main__":
    run_named(globals())
