"""Sweeps whose trials are functions."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import wandb

from scenarios.common import ONE_PROCESS, TWO_PROCESSES, new_model, run_named
from ultralytics_wb_ddp import Sweep, WandbManager, add_wandb_callback, get_wandb_sweep_id, run_sweep
from ultralytics_wb_ddp.sweeps import agents, sweep_api

agents.HEARTBEAT = 0.3  # five seconds are for a service that many ask

Parameters = dict[str, Any]


def sweep(parameters: dict[str, Any], trial: Callable[[Parameters], None]) -> Sweep:
    metric = {"name": "metrics/mAP50-95(B)", "goal": "maximize"}
    return run_sweep({"method": "grid", "project": "demo", "metric": metric, "parameters": parameters}, trial)


def log_or_exit(parameters: Parameters) -> None:
    if parameters["depth"] == 2:
        sys.exit(3)  # before it has a run
    wandb.init(project="another").log({"loss": parameters["epochs"], "sweep": get_wandb_sweep_id()})


def states() -> None:
    sweep_api.COUNTING = 0.5
    result = sweep({"epochs": {"value": 3.0}, "depth": {"values": [1, 2]}}, log_or_exit)
    print("RESULT", result.path, result.url, [(trial.run_id, trial.exit_code) for trial in result.trials])
    names = ("WANDB_PROJECT", "WANDB_SWEEP_ID", "WANDB_RUN_ID")
    print("ENVIRONMENT", [name for name in os.environ if name in names])


def have_no_luck(_: Parameters) -> None:
    with wandb.init():
        raise RuntimeError


def only_failures() -> None:
    sweep({"depth": {"values": [1, 2, 3]}}, have_no_luck)


def train_as_said(parameters: Parameters) -> None:
    model, name, how = new_model(), os.environ["WANDB_RUN_ID"], parameters["how"]
    arguments = {**TWO_PROCESSES, "epochs": 1, "name": name}
    if how == "open":
        run = wandb.init()
        add_wandb_callback(model, run=run)
        model.train(**arguments)
    elif how == "none":
        add_wandb_callback(model)
        model.train(**arguments)
    else:
        with WandbManager({"wandb": {"project": "another"}}, name) as manager:
            add_wandb_callback(model, run_mode="auto" if how == "closed" else "new")
            manager.prepare_for_training()
            model.train(**arguments)
            manager.resume_after_training().log({"after": 1})


def usages() -> None:
    sweep({"how": {"values": ["open", "none", "closed", "new"]}}, train_as_said)


def wait_for_the_other(parameters: Parameters) -> None:
    Path(os.environ["WANDB_RUN_ID"]).touch()
    deadline = time.monotonic() + 60
    while len(list(Path().glob("*-trial*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    others = len(list(Path().glob("*-trial*")))
    with wandb.init() as run:
        run.log({"device": parameters["device"], "lr0": parameters["lr0"], "others": others})


def joined() -> None:
    definition = {"method": "grid", "parameters": {"lr0": {"values": ["0.1", "0.2"]}}}
    url = f"{os.environ['WANDB_BASE_URL']}/team/demo/sweeps/{wandb.sweep(definition, project='demo')}"
    for name in ("WANDB_ENTITY", "WANDB_PROJECT"):
        os.environ.pop(name, None)
    print("TRIALS", len(run_sweep(url, wait_for_the_other, agents=2, devices=[0, 1, 2, 3]).trials))


def long_trainings(epochs: str) -> None:
    def train(_: Parameters) -> None:
        model = new_model()
        add_wandb_callback(model)
        model.train(**{**ONE_PROCESS, "epochs": int(epochs), "name": os.environ["WANDB_RUN_ID"]})

    sweep({"lr0": {"values": [0.1, 0.2]}}, train)


if __name__ == "__main__":
    run_named(globals())
