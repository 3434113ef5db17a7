"""Wrong uses that would end well and empty, and right ones."""

from __future__ import annotations

import os
from typing import Any

import wandb

from scenarios.common import CFG, ONE_PROCESS, TWO_PROCESSES, new_model, run_named
from ultralytics_wb_ddp import WandbManager, add_wandb_callback


def train(model: Any) -> None:
    model.train(**{**ONE_PROCESS, "epochs": 1})


def title(words: str) -> None:
    print(f"## {words}")


def use_in_every_way() -> None:
    """Train for one epoch each: a run with other options, a finished one, one that never existed, and none."""
    model = new_model()
    run = wandb.init(project="demo", name="mine", tags=["a", "b"])
    title("another")
    add_wandb_callback(model, run=run, project="other", name="mine", tags=["a"], job_type="evaluation", mode="offline")
    train(model)
    run.finish()
    title("finished")
    add_wandb_callback(model, run=run)
    title("unknown")
    os.environ["WANDB_RUN_ID"] = "left-over"
    model = new_model()
    add_wandb_callback(model, project="demo")
    train(model)
    title("disabled")
    del os.environ["WANDB_RUN_ID"]
    os.environ["WANDB_MODE"] = "disabled"
    train(model)
    title("disabled run")
    os.environ["WANDB_MODE"] = "offline"
    with WandbManager({"wandb": {"project": "demo", "mode": "disabled"}}, "job"):
        train(model)
    title("late")
    del os.environ["WANDB_MODE"]
    with WandbManager(CFG, "job") as manager:
        model = new_model()
        train(model)
    title("registered")
    add_wandb_callback(model)
    title("again")
    add_wandb_callback(model)
    title("right")
    with WandbManager(CFG, "job") as manager:
        manager.prepare_for_training()
        train(model)
        manager.resume_after_training()
    title("evaluation")
    with WandbManager(CFG, "job") as manager:
        manager.run.log({"accuracy": 1})


def launch(registered: str) -> None:
    model = new_model()
    with WandbManager(CFG, "job") as manager:
        if registered == "registered":
            add_wandb_callback(model)
        manager.prepare_for_training()
        model.train(**TWO_PROCESSES)
        manager.resume_after_training()


if __name__ == "__main__":
    run_named(globals())
