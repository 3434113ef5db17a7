"""A training in two processes, in each usage, with a look into both workers."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import psutil
from ultralytics import YOLO, settings

from scenarios.common import CFG, TWO_PROCESSES, new_model, run_named
from ultralytics_wb_ddp import WandbManager, add_wandb_callback, callbacks


def note_what_this_rank_has(_: Any) -> None:
    """Write down, at the end of a worker's training, whether wandb was loaded and which processes were started."""
    processes = [process.name() for process in psutil.Process().children(recursive=True)]
    facts = {"wandb": "wandb" in sys.modules, "processes": processes}
    Path(f"rank-{os.environ['RANK']}.json").write_text(json.dumps(facts), encoding="utf-8")


def finish_what_is_the_launchers(_: Any) -> None:
    if "wandb" in sys.modules:
        with sys.modules["wandb"].init():
            pass
        sys.modules["wandb"].finish()


def watched_model() -> YOLO:
    model = new_model()
    model.add_callback("teardown", note_what_this_rank_has)
    return model


def users_run() -> None:
    import wandb

    settings.update(wandb=True)  # the stock callback is wanted by the settings, and switched off for this training
    model = watched_model()
    run = wandb.init(project="demo", dir="elsewhere", config={"epochs": 99, "mine": 1})
    run.log({"before": 1})
    add_wandb_callback(model, run=run)
    model.add_callback("on_train_epoch_end", finish_what_is_the_launchers)
    model.train(**TWO_PROCESSES)
    run.log({"after": 1})
    run.finish()


def managers_run() -> None:
    settings.update(wandb=True)
    model = watched_model()
    cfg = {"wandb": {**CFG["wandb"], "dir": "elsewhere"}}
    with WandbManager(cfg, job_name="my-training", experiment_group_name="exp-1") as manager:
        manager.save_config(CFG)
        manager.run.config.update({"epochs": 99, "mine": 1})
        manager.run.log({"before": 1})
        add_wandb_callback(model)
        model.add_callback("on_train_epoch_end", finish_what_is_the_launchers)
        manager.prepare_for_training()
        model.train(**{**TWO_PROCESSES, "plots": True})
        manager.resume_after_training()
        manager.run.log({"after": 1})
        manager.save_training_artifacts("train/weights/best.pt", name="final_model", type="model")


def callbacks_by_hand() -> None:
    model = watched_model()
    for event, function in callbacks.items():
        model.add_callback(event, function)
    model.train(**{**TWO_PROCESSES, "plots": True})


def stock_callback() -> None:
    settings.update(wandb=True)
    new_model().train(**{**TWO_PROCESSES, "plots": True})


if __name__ == "__main__":
    run_named(globals())
