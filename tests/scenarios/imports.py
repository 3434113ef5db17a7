"""A training that is interrupted, imported, resumed, and imported again."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import Any

from ultralytics import YOLO

from scenarios.common import ONE_PROCESS, last_checkpoint, new_model, run_named
from ultralytics_wb_ddp import add_wandb_callback

IMPORT = [sys.executable, "-m", "ultralytics_wb_ddp.cli", "import", "train", "--project", "demo"]


def interrupt_in_epoch_2(trainer: Any) -> None:
    if trainer.epoch == 1:
        raise InterruptedError


def resume_an_imported_training() -> None:
    model = new_model()
    model.add_callback("on_train_epoch_start", interrupt_in_epoch_2)
    with contextlib.suppress(InterruptedError):
        model.train(**ONE_PROCESS)
    subprocess.run(IMPORT, check=True)
    model = YOLO(last_checkpoint())
    add_wandb_callback(model)
    model.train(resume=True)
    subprocess.run(IMPORT, check=True)


if __name__ == "__main__":
    run_named(globals())
