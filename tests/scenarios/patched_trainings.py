"""Trainings that a patched stock callback logs; no callback of the package is registered."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import ultralytics
from ultralytics import YOLO, settings

from scenarios.common import CFG, ONE_PROCESS, TWO_PROCESSES, new_model, run_named
from ultralytics_wb_ddp import WandbManager
from ultralytics_wb_ddp.testing.cpu_trainers import CpuDDPTrainer
from ultralytics_wb_ddp.training.callback_transport import install_callback_transport

NEEDS_PLOTS = {f"8.3.{number}" for number in range(32)}  # there the stock callback needs plots, and content on them
PLOTS = {"conf": 1e-6, "plots": True}


def use_stock() -> tuple[dict[str, Any], dict[str, Any]]:
    """Switch the stock callback on, and return the settings of a training in one and in two processes."""
    settings.update(wandb=True)
    settings.update(runs_dir=str(Path("runs").absolute()))
    plots = PLOTS if ultralytics.__version__ in NEEDS_PLOTS else {}
    one = {**ONE_PROCESS, "trainer": CpuDDPTrainer}  # which replaces functions that early releases want of NumPy
    return {**one, **plots}, {**TWO_PROCESSES, **plots}


def train_twice() -> None:
    one_process, _ = use_stock()
    for _number in range(2):
        new_model().train(**one_process)


def train_once() -> None:
    one_process, _ = use_stock()
    new_model().train(**one_process)


def train_with_plots() -> None:
    one_process, _ = use_stock()
    new_model().train(**{**one_process, "project": "stock", **PLOTS})


def train_in_the_scripts_process() -> None:
    one_process, _ = use_stock()
    model = new_model()
    with WandbManager(CFG, "job") as manager:
        for number in range(5):
            manager.run.log({"before": number})
        model.train(**one_process)
        manager.run.log({"after": 1})


def train_with_manager(model: YOLO, arguments: dict[str, Any]) -> None:
    install_callback_transport()
    sys.stdout.flush()
    with WandbManager(CFG, "job") as manager:
        manager.prepare_for_training()
        model.train(**arguments)


def fail_in_epoch_2(trainer: Any) -> None:
    if trainer.epoch == 1 and os.environ.get("RANK") == "0":
        raise InterruptedError


def fail(mode: str) -> None:
    CFG["wandb"]["mode"] = mode
    _, two_processes = use_stock()
    model = new_model()
    model.add_callback("on_train_epoch_start", fail_in_epoch_2)
    train_with_manager(model, two_processes)


def kill_launcher(trainer: Any) -> None:
    if trainer.epoch == 1 and os.environ.get("RANK") == "0":
        os.kill(psutil.Process().parent().ppid(), signal.SIGKILL)
        time.sleep(3)


def note_the_end(trainer: Any) -> None:
    if os.environ.get("RANK") == "0":
        Path("ended").write_text(str(trainer.epoch), encoding="utf-8")


def lose_the_launcher() -> None:
    _, two_processes = use_stock()
    model = new_model()
    model.add_callback("on_train_epoch_start", kill_launcher)
    model.add_callback("on_train_end", note_the_end)
    train_with_manager(model, two_processes)


if __name__ == "__main__":
    run_named(globals())
