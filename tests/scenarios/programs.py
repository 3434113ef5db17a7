"""Distributed programs without a trainer that log with ``wandb_init``, under torchrun and alone."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, cast

import psutil

from scenarios.calls import run_named
from ultralytics_wb_ddp import ConfigurationError, get_wandb_run, wandb_config, wandb_init
from ultralytics_wb_ddp.runs.open_runs import registry
from ultralytics_wb_ddp.utils.environment import set_or_unset

RANK = int(os.environ.get("RANK", "0"))


def note(name: str, value: Any) -> None:
    Path(f"{name}-{RANK}.json").write_text(json.dumps(value), encoding="utf-8")


def log_in_each(*modes: str) -> None:
    """Log in each mode, such as ``"shared-global"``, one after the other."""
    for name in modes:
        run_mode, rank_scope = cast("Any", name.split("-"))
        with wandb_init(project=name, run_mode=run_mode, rank_scope=rank_scope, config={"lr": 0.1}) as run:
            assert run is get_wandb_run()
            if run:
                print("this rank logs")
                run.log({f"loss/{RANK}": 1.0})
            note(name, run and run.id)
            for rank in range(int(os.environ["WORLD_SIZE"])):  # a barrier
                wait_for(f"{name}-{rank}.json")
        assert get_wandb_run() is None


@wandb_init(project="demo", run_mode="new", id="given")
def log_twice(times: int) -> str:
    """Log, and return the id of the run."""
    run = get_wandb_run()
    for _ in range(times):
        run.log({"loss": 1.0})
    return str(run.id)


def decorated() -> None:
    note("returned", log_twice(2))


def end_by(end: str, rank: str = "0") -> None:
    """End the block of one rank in a way, while the others wait."""
    import torch.distributed  # noqa: F401  # as such a program has it

    with wandb_init(project="demo", config={"lr": 0.1}) as run:
        if run:
            run.log({"loss": 1.0})
        note("imports", "wandb" in sys.modules)
        note("opened", run and run.id)
        for each in (0, 1):
            wait_for(f"opened-{each}.json")
        if int(rank) != RANK:
            time.sleep(60)
        elif end == "exception":
            raise RuntimeError
        elif end == "exit":
            raise SystemExit(3)
        elif end in {"SIGTERM", "SIGKILL"}:
            os.kill(os.getpid(), getattr(signal, end))
            threading.Event().wait(60)


def wait_for(name: str) -> None:
    while not Path(name).exists():
        time.sleep(0.1)


# In one process


def log_without_wandb_core() -> None:
    """Log before and after wandb-core is killed, by all kinds of calls."""
    import wandb

    with wandb_init(project="demo", id="goes-on") as run:
        run.log({"loss": 1.0})
        time.sleep(2)  # it is on disk then
        (held,) = registry.opened.values()
        for process in psutil.Process(held.service_process.pid).children():
            process.kill()
        time.sleep(1)
        run.summary["best"] = 7
        run.log({"loss": 2.0})
        run.config.update({"late": True})
        wandb.log({"loss": 3.0})
        assert get_wandb_run().id == run.id == wandb.run.id
        run.finish()
        run.log({"loss": 4.0})


def finish_inside_and_fail() -> None:
    with wandb_config(project="outer", group="outer"), wandb_init(group="inner") as run:
        run.finish()
        raise RuntimeError


def nest() -> None:
    with wandb_init(project="outer"), wandb_init(project="inner"):
        pass


def train_inside(device: str) -> None:
    """Train a YOLO model inside of the program, in its run."""
    from scenarios.common import ONE_PROCESS, TWO_PROCESSES, new_model
    from ultralytics_wb_ddp import add_wandb_callback

    with wandb_config(run_mode="new"), wandb_init(project="demo", mistakes=0, checkpoints="none") as run:
        run.log({"before": 1})
        model = new_model()
        add_wandb_callback(model)
        model.train(**{**(ONE_PROCESS if device == "cpu" else TWO_PROCESSES), "epochs": 1})
        run.log({"after": 1})


# Refused on all ranks at the same moment


def refuse_all() -> None:
    """Note each error, and whether anything was opened before it."""
    damaged, no_store = {"WORLD_SIZE": "1"}, {"MASTER_ADDR": ""}
    errors = [
        error_of({}, projct="demo"),
        error_of({}, run_mode="shared"),
        error_of(damaged if RANK else {"RANK": "first"}),
        error_of(no_store, run_mode="new"),
        error_of({"WANDB_RUN_ID": "a/b"}),
    ]
    note("refused", [*errors, Path("wandb").exists()])


def error_of(variables: dict[str, str], **options: Any) -> str:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        with wandb_init(**options):
            return "entered"
    except ConfigurationError as error:
        return str(error)
    finally:
        for name, value in before.items():
            set_or_unset(name, value)


if __name__ == "__main__":
    run_named(globals())
