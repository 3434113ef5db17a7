"""A task of the example for Slurm, in the size of a test; the first start never gets beyond its second epoch."""

from __future__ import annotations

import os
import runpy
import time
from pathlib import Path
from typing import Any

from ultralytics import YOLO
from ultralytics.utils import DEFAULT_CFG, callbacks

from scenarios.common import SETTINGS, new_model, run_named
from ultralytics_wb_ddp.testing.cpu_trainers import CpuDDPTrainer

SMALL = {name: SETTINGS[name] for name in ("data", "imgsz", "batch", "workers", "plots")}


class SmallTrainer(CpuDDPTrainer):
    """The trainer of a small training, whatever the example asks for."""

    def __init__(self, cfg: Any = DEFAULT_CFG, overrides: Any = None, _callbacks: Any = None) -> None:
        device = {"device": "cpu"} if os.environ["SLURM_STEP_NUM_TASKS"] == "1" else {}
        super().__init__(cfg, {**overrides, **SMALL, "epochs": 3, **device}, _callbacks)


def take_too_long(trainer: Any) -> None:
    if trainer.epoch == 2 and os.environ["SLURM_RESTART_COUNT"] == "0":
        Path(f"late-{os.environ['SLURM_PROCID']}").touch()
        time.sleep(60)


def run_step(script: str) -> None:
    callbacks.default_callbacks["on_train_epoch_start"].append(take_too_long)
    YOLO.task_map = {"detect": {**new_model().task_map["detect"], "trainer": SmallTrainer}}
    if not Path("yolo11n.pt").exists():
        new_model().save("yolo11n.pt")
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    run_named(globals())
