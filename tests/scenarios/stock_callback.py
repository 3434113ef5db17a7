"""The stock callback in trainers: its functions in every era, and a training in which it is off."""

from __future__ import annotations

import os
import types
from collections import defaultdict
from pathlib import Path
from typing import Any

import wandb
from ultralytics import settings
from ultralytics.models.yolo.detect import DetectionTrainer

from scenarios.common import ONE_PROCESS, new_model, run_named
from ultralytics_wb_ddp import add_wandb_callback
from ultralytics_wb_ddp.testing.cpu_trainers import CpuDDPTrainer
from ultralytics_wb_ddp.training.stock_callback import switch_off_stock_callback


def mine(_: Any) -> None:
    pass


def count(trainer: Any) -> int:
    return sum(map(len, trainer.callbacks.values()))


def find_functions(folder: str) -> None:
    """Register the functions of each file in a folder and have it open a run, which adds functions in some."""
    settings.update(wandb=True)
    overrides = {"model": os.environ["MODEL"], "data": os.environ["DATA"], "project": str(Path.cwd()), "name": "train"}
    trainer = DetectionTrainer(overrides=overrides)
    for file in sorted(Path(folder).iterdir()):
        stock = types.ModuleType("ultralytics.utils.callbacks.wb")
        exec(compile(file.read_text(encoding="utf-8"), file, "exec"), vars(stock))
        trainer.callbacks = defaultdict(list)
        trainer.add_callback("on_train_end", mine)
        for event, function in stock.callbacks.items():
            trainer.add_callback(event, function)
        known = count(trainer)
        if "on_pretrain_routine_end" in stock.callbacks and not file.name.startswith("8.3"):
            os.environ.update(WANDB_RUN_ID=file.stem.replace(".", "-"), WANDB_PROJECT="stock")
            trainer.run_callbacks("on_pretrain_routine_end")
            wandb.finish()
        added = count(trainer) - known
        switch_off_stock_callback(trainer, None)
        left = [function for functions in trainer.callbacks.values() for function in functions]
        print("FOUND", file.stem, known - 1, added, left == [mine])


def train_with_ours_in_between() -> None:
    settings.update(wandb=True, runs_dir=str(Path("runs").absolute()))
    arguments = {**ONE_PROCESS, "trainer": CpuDDPTrainer, "project": "demo", "epochs": 1}
    model = new_model()
    model.train(**{**arguments, "name": "stock"})
    ours = add_wandb_callback(model, name="ours")
    model.train(**arguments)
    for event, function in ours.callbacks.items():
        model.callbacks[event].remove(function)
    model.train(**{**arguments, "name": "stock again"})
    assert settings["wandb"] is True


if __name__ == "__main__":
    run_named(globals())
