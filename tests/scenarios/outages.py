"""Trainings beside a W&B that is away, on a full disk, and with a wandb-core that dies."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

import psutil

from scenarios.common import CFG, ONE_PROCESS, TWO_PROCESSES, new_model, run_named
from ultralytics_wb_ddp import WandbManager, add_wandb_callback
from ultralytics_wb_ddp.runs.journal import find_sessions
from ultralytics_wb_ddp.runs.open_runs import registry
from ultralytics_wb_ddp.wandb_client.run_file import read_run


def wait_for_the_server(trainer: Any) -> None:
    """Wait until the rows of before have arrived: the trouble begins with them."""
    if trainer.epoch == 1:
        time.sleep(3)


def train_for_3_epochs(bound: str) -> None:
    """Train, with ``bound`` seconds for the opening and the closing of the run."""
    os.environ["WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL"] = "1"
    model = new_model()
    add_wandb_callback(model, project="demo", init_timeout=float(bound), finish_timeout=float(bound))
    model.add_callback("on_train_epoch_start", wait_for_the_server)
    model.train(**{**ONE_PROCESS, "epochs": 3})


def fill_disk(trainer: Any) -> None:
    if trainer.epoch == 1 and os.environ.get("RANK", "0") == "0":
        with Path("small/filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))


def report(*paths: Path) -> None:
    rows = [row for session in find_sessions(paths) for row in read_run(session.folder).history]
    print(
        "EPOCHS", [row["epoch"] for row in rows if "metrics/mAP50(B)" in row], [row["x"] for row in rows if "x" in row]
    )


def train_until_the_disk_is_full() -> None:
    model = new_model()
    model.add_callback("on_train_epoch_start", fill_disk)
    add_wandb_callback(model, project="demo")
    model.train(**{**ONE_PROCESS, "epochs": 4})
    report(Path("train"))


def train_with_manager_until_the_disk_is_full() -> None:
    model = new_model()
    model.add_callback("on_train_epoch_start", fill_disk)
    with WandbManager({"wandb": {**CFG["wandb"], "keep_open": True}}, "job") as manager:
        manager.run.log({"x": 0})
        add_wandb_callback(model)
        manager.prepare_for_training()
        model.train(**{**TWO_PROCESSES, "epochs": 4})
        run = manager.resume_after_training()
        run.log({"x": 1})
    report(Path("train"), Path(run.dir).parent)


def kill_wandb_core(_: Any) -> None:
    """Kill it before Ultralytics imports the rest of what it needs, of which W&B takes notice."""
    for held in registry.opened.values():
        for process in psutil.Process(held.service_process.pid).children():
            assert process.name() == "wandb-core"
            process.kill()


def train_without_wandb_core() -> None:
    model = new_model()
    add_wandb_callback(model, project="demo")
    model.add_callback("on_pretrain_routine_end", kill_wandb_core)
    model.train(**ONE_PROCESS)


def share_a_run() -> None:
    model = new_model()
    add_wandb_callback(model, project="demo", run_mode="shared", init_timeout=2)
    model.train(**{**TWO_PROCESSES, "epochs": 1})


if __name__ == "__main__":
    run_named(globals())
