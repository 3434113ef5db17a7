"""Four trainings of a project, one after the other.

The first starts from weights that W&B does not know, the second from the best checkpoint of the first. The third is
interrupted and resumed with another dataset. The fourth wants no inputs.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

from ultralytics import YOLO

from scenarios.common import ONE_PROCESS, SETTINGS, new_model, run_named
from ultralytics_wb_ddp import add_wandb_callback

DOWNLOAD = "download: https://me:pass@example.com/shapes.zip?signature=abc\n"
TRAINING = {**ONE_PROCESS, "data": "shapes/data.yaml", "epochs": 1}


def copy_dataset() -> None:
    original, copy = Path(SETTINGS["data"]).parent, Path("shapes").absolute()
    shutil.copytree(original, copy)
    file = copy / "data.yaml"
    file.write_text(file.read_text().replace(str(original), str(copy)) + DOWNLOAD)


def logged(weights: str, **options: Any) -> YOLO:
    """Return a model whose training is logged."""
    model = YOLO(weights)
    add_wandb_callback(model, project="demo", **options)
    return model


def interrupt_in_epoch_2(trainer: Any) -> None:
    if trainer.epoch == 1:
        raise InterruptedError


def change_dataset() -> None:
    Path("shapes/labels/train/00004.txt").unlink()
    shutil.copy("shapes/images/val/00000.png", "shapes/images/val/copy.png")


def train_four_times() -> None:
    copy_dataset()
    new_model().save("start.pt")
    logged("start.pt").train(**{**TRAINING, "name": "one"})
    logged("one/weights/best.pt").train(**{**TRAINING, "name": "two"})

    model = logged("start.pt")
    model.add_callback("on_train_epoch_start", interrupt_in_epoch_2)
    with contextlib.suppress(InterruptedError):
        model.train(**{**TRAINING, "name": "three", "epochs": 2})
    change_dataset()
    logged("three/weights/last.pt").train(resume=True)

    logged("start.pt", inputs=False).train(**{**TRAINING, "name": "four"})


if __name__ == "__main__":
    run_named(globals())
