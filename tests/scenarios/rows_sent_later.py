"""Trainings whose server, wandb-core, service process or whole job is gone for a while."""

from __future__ import annotations

import contextlib
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from ultralytics import YOLO

from scenarios.common import ONE_PROCESS, TWO_PROCESSES, last_checkpoint, new_model, run_named
from ultralytics_wb_ddp import WandbManager, add_wandb_callback
from ultralytics_wb_ddp.distributed.processes import SERVICE_PROCESS_MODULE
from ultralytics_wb_ddp.runs.open_runs import registry
from ultralytics_wb_ddp.testing.cpu_trainers import CpuDDPTrainer


def service_processes() -> list[Any]:
    """Return the service processes of this job, which has a home of its own."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            if SERVICE_PROCESS_MODULE in process.cmdline() and process.environ().get("HOME") == os.environ["HOME"]:
                found.append(process)
    return found


def kill_the_job_in_epoch_2(trainer: Any) -> None:
    """Kill every process of the job at once, as the end of the memory does: the row has not been sent."""
    if trainer.epoch != 1:
        return
    time.sleep(3)  # the row is on disk
    this = psutil.Process()
    torchrun = this.parent()
    job = [torchrun, *torchrun.children(recursive=True), torchrun.parent()] if "RANK" in os.environ else [this]
    services = service_processes()
    for process in [*services, *(child for each in services for child in each.children()), *job]:
        process.kill()


def train_until_killed(processes: str) -> None:
    model = new_model()
    add_wandb_callback(model, project="demo", mode="online")
    model.add_callback("on_fit_epoch_end", kill_the_job_in_epoch_2)
    model.train(**{**(TWO_PROCESSES if processes == "2" else ONE_PROCESS), "epochs": 3})


def resume(processes: str) -> None:
    model = YOLO(last_checkpoint())
    add_wandb_callback(model, mode="online")
    place = {"device": "0,1", "trainer": CpuDDPTrainer} if processes == "2" else {"device": "cpu"}
    model.train(resume=True, **place)


def take_down(mark: str, epoch: int, trainer: Any) -> None:
    if getattr(trainer, "epoch", 0) == epoch:
        Path(mark).touch()


def train_while_the_server_goes_down(moment: str, mark: str) -> None:
    model = new_model()
    model.add_callback(moment, partial(take_down, mark, int(moment == "on_train_epoch_end")))
    add_wandb_callback(model, project="demo", finish_timeout=5)
    model.train(**{**ONE_PROCESS, "plots": True})


def train_while_the_server_refuses(place: str) -> None:
    model = new_model()
    manager = WandbManager({"wandb": {"project": "demo", "mode": "online", "init_timeout": 5}}, "job")
    run, _ = manager.initialize()
    run.log({"before": 1})
    add_wandb_callback(model)
    manager.prepare_for_training()
    Path(place, "begins").touch()
    model.train(**TWO_PROCESSES)
    Path(place, "ends").touch()
    run = manager.resume_after_training()
    run.log({"after": 1})
    manager.finish()


def kill_service_process(trainer: Any) -> None:
    if getattr(trainer, "epoch", 0) == 0:
        for process in service_processes():
            with contextlib.suppress(psutil.NoSuchProcess):  # the other rank was faster
                process.kill()


def train_without_the_service_process(event: str) -> None:
    model = new_model()
    manager = WandbManager({"wandb": {"project": "demo", "mode": "online", "keep_open": True}}, "job")
    run, _ = manager.initialize()
    run.log({"before": 1})
    add_wandb_callback(model)
    model.add_callback(event, kill_service_process)
    manager.prepare_for_training()
    model.train(**TWO_PROCESSES)
    run = manager.resume_after_training()
    run.log({"after": 1})
    manager.finish()


def kill_wandb_core(trainer: Any) -> None:
    if trainer.epoch == 0:
        for open_run in registry.opened.values():
            for process in psutil.Process(open_run.service_process.pid).children():
                process.kill()


def train_without_wandb_core() -> None:
    model = new_model()
    add_wandb_callback(model, project="demo", mode="online")
    model.add_callback("on_fit_epoch_end", kill_wandb_core)
    model.train(**ONE_PROCESS)


if __name__ == "__main__":
    run_named(globals())
