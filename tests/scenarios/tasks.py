"""Trainings of each task, and of another family of models with a trainer of the user's."""

from __future__ import annotations

import os
from pathlib import Path

from ultralytics import RTDETR, YOLO
from ultralytics.models.rtdetr.train import RTDETRTrainer

from scenarios.common import ONE_PROCESS, TWO_PROCESSES, run_named
from ultralytics_wb_ddp import add_wandb_callback
from ultralytics_wb_ddp.testing.cpu_trainers import CpuDDPMixin
from ultralytics_wb_ddp.testing.shapes_dataset import make_shapes_dataset

HEADS = {"segment": "Segment, [nc, 8, 16]", "pose": "Pose, [nc, kpt_shape]", "obb": "OBB, [nc, 1]"}


class CpuDDPRTDETRTrainer(CpuDDPMixin, RTDETRTrainer):
    """RT-DETR in several CPU processes."""


def model_of(task: str) -> YOLO:
    """Return a tiny model of a task."""
    text = Path(os.environ["MODEL"]).read_text(encoding="utf-8")
    if task == "classify":
        text = text.replace("[[2, 3, 4], 1, Detect, [nc]]", "[-1, 1, Classify, [nc]]")
    else:
        text = text.replace("Detect, [nc]", HEADS.get(task, "Detect, [nc]"))
    Path(f"tiny-{task}.yaml").write_text(f"{text}\nkpt_shape: [4, 3]\n", encoding="utf-8")
    return YOLO(f"tiny-{task}.yaml")


def train_tasks(*tasks: str) -> None:
    """Train each task, one after the other, in one process."""
    for task in tasks:
        data = make_shapes_dataset(f"shapes-{task}", images=8, classes=2, task=task)
        model = model_of(task)
        assert model.task == task
        add_wandb_callback(model)
        settings = {"name": task, "data": str(data), "epochs": 1, "plots": True, "conf": 1e-6}
        model.train(**{**ONE_PROCESS, **settings})


def train_another_family() -> None:
    from scenarios.tasks import CpuDDPRTDETRTrainer as Trainer  # the workers import it from there

    model = RTDETR("rtdetr-resnet50.yaml")
    add_wandb_callback(model)
    model.train(**{**TWO_PROCESSES, "trainer": Trainer, "epochs": 1, "batch": 4})


if __name__ == "__main__":
    run_named(globals())
