"""A training in two processes in each usage of the README, for every release of Ultralytics and wandb."""

from __future__ import annotations

import functools
import importlib
import os
import sys
from pathlib import Path
from typing import Any

from ultralytics import YOLO, settings

from scenarios.common import CFG, TWO_PROCESSES, new_model, run_named
from ultralytics_wb_ddp import WandbManager, add_wandb_callback, callbacks


def note(kind: str, _: Any) -> None:
    with Path(f"rank-{os.environ.get('RANK')}.txt").open("a", encoding="utf-8") as file:
        print(kind, file=file)


class Noter:
    """A callback that is a method."""

    def method(self, trainer: Any) -> None:
        note("method", trainer)


def function(trainer: Any) -> None:
    """Note the call, whether wandb is loaded, and the file that the rank was started with."""
    trainer.note = lambda kind: note(kind, trainer)
    note("function", trainer)
    Path("wandb-" + os.environ["RANK"]).write_text(str("wandb" in sys.modules), encoding="utf-8")
    Path("start.py").write_text(Path(sys.argv[0]).read_text(encoding="utf-8"), encoding="utf-8")


def model_with_callbacks() -> YOLO:
    """Return a model with callbacks of each kind that note their calls."""
    model = new_model()
    partial = functools.partial(note, "partial")
    of_a_module = importlib.import_module("beside_the_script").note_the_module
    for callback in (function, Noter().method, lambda trainer: note("lambda", trainer), partial, of_a_module):
        model.add_callback("on_train_epoch_end", callback)
    return model


def use_stock(plots: str) -> None:
    settings.update(wandb=True)
    if plots == "plots":
        TWO_PROCESSES.update(conf=1e-6, plots=True)


def users_run(plots: str) -> None:
    use_stock(plots)
    import wandb

    model = model_with_callbacks()
    run = wandb.init(project="demo")
    add_wandb_callback(model, run=run)
    run.log({"before": 1})
    model.train(**TWO_PROCESSES)
    run.log({"after": 1})
    run.finish()


def managers_run(plots: str) -> None:
    use_stock(plots)
    model = model_with_callbacks()
    with WandbManager(CFG, "job") as manager:
        manager.run.log({"before": 1})
        add_wandb_callback(model)
        manager.prepare_for_training()
        model.train(**TWO_PROCESSES)
        manager.resume_after_training()
        manager.run.log({"after": 1})


def callbacks_by_hand(plots: str) -> None:
    use_stock(plots)
    model = model_with_callbacks()
    for event, registered in callbacks.items():
        model.add_callback(event, registered)
    model.train(**TWO_PROCESSES)


def patched_with_open_run(plots: str) -> None:
    train_patched(plots, takes_back=False)


def patched_with_closed_run(plots: str) -> None:
    train_patched(plots, takes_back=True)


def train_patched(plots: str, *, takes_back: bool) -> None:
    use_stock(plots)
    model = new_model()
    with WandbManager(CFG, "job") as manager:
        manager.run.config.update({"epochs": "mine"})
        manager.run.log({"before": 1})
        manager.prepare_for_training()
        model.train(**TWO_PROCESSES)
        if takes_back:
            manager.resume_after_training()
        manager.run.log({"after": 1})


if __name__ == "__main__":
    run_named(globals())
