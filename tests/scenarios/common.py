"""What the scripts share: a model, a dataset, settings of short trainings, and the call of one of their functions.

The variables ``MODEL`` and ``DATA`` name the files, ``WANDB_MODE`` the mode of a manager's runs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ultralytics import YOLO

from scenarios.calls import run_named as run_named  # noqa: PLC0414  # scripts that train import it from here
from ultralytics_wb_ddp.testing.cpu_trainers import CpuDDPTrainer

CFG: dict[str, Any] = {"wandb": {"project": "demo", "mode": os.environ["WANDB_MODE"]}}
SETTINGS: dict[str, Any] = {
    "data": os.environ["DATA"],
    "epochs": 2,
    "imgsz": 64,
    "batch": 8,
    "workers": 0,
    "plots": False,
    "deterministic": False,
    "project": str(Path.cwd()),
    "name": "train",
}
TWO_PROCESSES = {**SETTINGS, "trainer": CpuDDPTrainer, "device": "0,1"}
ONE_PROCESS = {**SETTINGS, "device": "cpu"}


def new_model() -> YOLO:
    """Return a model that is not trained."""
    return YOLO(os.environ["MODEL"])


def last_checkpoint() -> str:
    """Return the path of the training's last checkpoint."""
    return str(Path("train/weights/last.pt"))
