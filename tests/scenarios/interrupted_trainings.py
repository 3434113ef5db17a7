"""Trainings that are stopped, that lose their launcher, or that are killed and resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import wandb
from ultralytics import YOLO

from scenarios.common import CFG, ONE_PROCESS, TWO_PROCESSES, last_checkpoint, new_model, run_named
from ultralytics_wb_ddp import WandbManager, add_wandb_callback

LONG = {"epochs": 60}


def train_in_usage(usage: str, model: YOLO, settings: dict[str, Any], **options: Any) -> None:
    """Train with a run of the launcher's that stays open or is closed, of rank 0, of each rank, or of the script."""
    if usage in {"open", "closed"}:
        with WandbManager({"wandb": {**CFG["wandb"], "keep_open": usage == "open"}}, "job") as manager:
            manager.run.log({"before": 1})
            add_wandb_callback(model, **options)
            manager.prepare_for_training()
            model.train(**settings)
    elif usage == "users":
        with wandb.init(project="demo") as run:
            run.log({"before": 1})
            add_wandb_callback(model, run=run, **options)
            model.train(**settings)
    else:
        mode: dict[str, Any] = {"run_mode": "new"} if usage == "own-of-each-rank" else {}
        add_wandb_callback(model, project="demo", **mode, **options)
        model.train(**settings)


def train_long(usage: str, processes: str) -> None:
    train_in_usage(usage, new_model(), {**(TWO_PROCESSES if processes == "2" else ONE_PROCESS), **LONG})


def kill_launcher(trainer: Any) -> None:
    if trainer.epoch == 1 and os.environ["RANK"] == "1":
        time.sleep(2)  # rank 0 has logged the first epoch then
        os.kill(int(os.environ["LAUNCHER"]), signal.SIGKILL)
        time.sleep(1)


def lose_the_launcher(usage: str) -> None:
    os.environ["LAUNCHER"] = str(os.getpid())
    model = new_model()
    model.add_callback("on_train_epoch_start", kill_launcher)
    train_in_usage(usage, model, TWO_PROCESSES)


def lose_the_launcher_and_stop() -> None:
    os.environ["LAUNCHER"] = str(os.getpid())
    model = new_model()
    model.add_callback("on_train_epoch_start", kill_launcher)
    train_in_usage("open", model, {**TWO_PROCESSES, **LONG}, on_launcher_lost="stop")


def kill_torchrun(_: Any) -> None:
    if os.environ.get("RANK") == "0":
        os.kill(os.getppid(), signal.SIGKILL)


def lose_torchrun_before_the_workers_are_connected() -> None:
    """Print the processes that are left of a launch, once there are none or a minute later."""
    model = new_model()
    model.add_callback("on_pretrain_routine_start", kill_torchrun)
    add_wandb_callback(model, project="demo")
    with suppress(subprocess.CalledProcessError):
        model.train(**TWO_PROCESSES)
    deadline = time.monotonic() + 60
    while (left := workers_of_this_job()) and time.monotonic() < deadline:
        time.sleep(0.5)
    print("LEFT", left)


def workers_of_this_job() -> list[int]:
    """Return the ids of the processes in this directory that run a start file of Ultralytics."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if Path(process.cwd()) == Path.cwd() and any("DDP" in word for word in process.cmdline()):
                found.append(process.pid)
    return found


def kill_all_in_epoch_2(trainer: Any) -> None:
    if trainer.epoch == 1 and os.environ.get("RANK", "0") == "0":
        os.killpg(0, signal.SIGKILL)


def kill_this_process_in_epoch_3(trainer: Any) -> None:
    if trainer.epoch == 2:
        time.sleep(2)
        os.kill(os.getpid(), signal.SIGKILL)


def train_until_all_are_killed() -> None:
    os.setpgid(0, 0)
    model = new_model()
    model.add_callback("on_train_epoch_start", kill_all_in_epoch_2)
    add_wandb_callback(model, project="demo")
    model.train(**{**TWO_PROCESSES, "epochs": 4})


def resumed_model(directory: str) -> YOLO:
    os.chdir(directory)
    model = YOLO(last_checkpoint())
    add_wandb_callback(model, project="demo")
    return model


def resume_until_killed(directory: str) -> None:
    model = resumed_model(directory)
    model.add_callback("on_train_epoch_start", kill_this_process_in_epoch_3)
    model.train(resume=True, device="cpu")


def resume_in_two_processes(directory: str) -> None:
    arguments = {name: TWO_PROCESSES[name] for name in ("device", "trainer")}
    resumed_model(directory).train(resume=True, **arguments)


if __name__ == "__main__":
    run_named(globals())
