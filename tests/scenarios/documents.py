"""All that the code of README and docs takes for granted, in the size of a test."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from ultralytics import YOLO, settings
from ultralytics.utils import DEFAULT_CFG

from ultralytics_wb_ddp import WandbManager
from ultralytics_wb_ddp.testing.cpu_trainers import CpuDDPTrainer
from ultralytics_wb_ddp.testing.shapes_dataset import make_shapes_dataset


class SmallTrainer(CpuDDPTrainer):
    """A trainer on the CPU, for two epochs of small images; the variable ``DEVICE`` says in how many processes."""

    def __init__(self, cfg: Any = DEFAULT_CFG, overrides: Any = None, _callbacks: Any = None) -> None:
        small = {"epochs": 2, "imgsz": 64, "batch": 8, "workers": 0, "plots": False, "device": os.environ["DEVICE"]}
        super().__init__(cfg, {**overrides, **small}, _callbacks)


def prepare_machine() -> None:
    """Prepare for code that trains: GPUs, weights, a dataset and hours are of the size of a test."""
    shutil.copy(os.environ["MODEL"], "yolo11.yaml")  # which "yolo11n.yaml" means
    settings.update(runs_dir=str(Path("runs").absolute()))
    YOLO.task_map = {"detect": {**YOLO("yolo11n.yaml").task_map["detect"], "trainer": SmallTrainer}}
    YOLO("yolo11n.yaml").save("yolo11n.pt")
    make_shapes_dataset("shapes", images=16, classes=2).rename("coco8.yaml")


def manager_after_training() -> WandbManager:
    """Return a manager whose run is open, where a training has left its weights."""
    weights = Path("runs/detect/train/weights")
    weights.mkdir(parents=True)
    (weights / "best.pt").write_bytes(b"weights")
    manager = WandbManager({"wandb": {"project": "demo"}}, job_name="job")
    manager.initialize()
    return manager
