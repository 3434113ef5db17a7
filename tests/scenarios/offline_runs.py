"""A run of the user's that trainings log to, and its end."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import wandb
from ultralytics import YOLO

from scenarios.common import ONE_PROCESS, TWO_PROCESSES, new_model, run_named
from ultralytics_wb_ddp import add_wandb_callback

SETTINGS = {"one-process": ONE_PROCESS, "two-processes": TWO_PROCESSES}


def open_run(**options: Any) -> tuple[YOLO, Any]:
    model, run = new_model(), wandb.init(project="demo", id="mine")
    add_wandb_callback(model, **({"run": run} | options))
    return model, run


def train(model: YOLO, processes: str) -> None:
    if processes in SETTINGS:
        model.train(**{**SETTINGS[processes], "epochs": 1})


def end(run: Any, how: str) -> None:
    if how == "finish-twice":
        run.finish()
        run.finish()
    if how == "finish":
        run.finish()
    if how == "wandb.finish":
        wandb.finish()
    if how == "with-block":
        with run:
            pass
    if how == "teardown":
        wandb.teardown()
    if how == "exception":
        raise ValueError  # and otherwise the script ends


def train_and_end(processes: str, how: str) -> None:
    model, run = open_run()
    train(model, processes)
    end(run, how)


def train_with_active_run(processes: str) -> None:
    model, _ = open_run(run=None)
    train(model, processes)


def terminate(_: Any) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)


def be_terminated() -> None:
    model, _ = open_run()
    model.add_callback("on_train_end", terminate)
    train(model, "one-process")


def open_twice() -> None:
    _, run = open_run()
    run.finish()
    time.sleep(1)
    open_run()


def train_with_a_run_for_each_rank() -> None:
    model, run = open_run(run_mode="new")
    train(model, "two-processes")
    run.finish()


if __name__ == "__main__":
    run_named(globals())
