"""Trainings in processes of torchrun, of ``torch.multiprocessing.spawn`` and of the package's own launch.

Each rank notes its state at the end of each epoch, with a checksum of its weights.
"""

from __future__ import annotations

import json
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import wandb
from ultralytics import YOLO

from scenarios.common import SETTINGS, TWO_PROCESSES, new_model, run_named
from ultralytics_wb_ddp import ParallelConfig, add_wandb_callback, train_distributed
from ultralytics_wb_ddp.distributed.parallel_config import find_free_port
from ultralytics_wb_ddp.distributed.trainer_mixin import DistributedTrainerMixin
from ultralytics_wb_ddp.testing.cpu_trainers import CpuDDPTrainer

SETTINGS["nbs"] = 16  # each batch is a step


class AnyOutputDevice(DistributedTrainerMixin, CpuDDPTrainer):
    """A trainer whose output device PyTorch refuses: the package does not check the settings of a class."""

    parallel = ParallelConfig(output_device=1)


def note(event: str, trainer: Any) -> None:
    import torch.distributed as dist
    from ultralytics.engine.trainer import RANK

    facts = {
        "event": event,
        "epoch": trainer.epoch,
        "epochs": trainer.epochs,
        "size": dist.get_world_size(),
        "directory": str(trainer.save_dir),
        "rank": RANK,
        "images": len(trainer.train_loader.sampler),
        "weights": sum(float(part.detach().double().abs().sum()) for part in trainer.model.parameters()),
        "lr": trainer.optimizer.param_groups[0]["lr"],
    }
    with Path(f"notes-{os.environ['RANK']}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(facts) + "\n")


def new_watched_model() -> YOLO:
    """Return a model whose trainings are logged, and noted by each rank."""
    model = new_model()
    add_wandb_callback(model)
    for event in ("on_train_epoch_end", "on_fit_epoch_end"):
        model.add_callback(event, partial(note, event))
    return model


def train() -> None:
    new_watched_model().train(**{**TWO_PROCESSES, **SETTINGS})


def train_as_rank(rank: int, port: int) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    train()


def spawn() -> None:
    import torch

    torch.multiprocessing.spawn(train_as_rank, (find_free_port(),), nprocs=2)


def train_on_all_nodes() -> None:
    train_distributed(new_watched_model(), trainer=CpuDDPTrainer, **{**SETTINGS, "batch": 16})


def train_twice() -> None:
    """Train twice under one name; the second training ends after some seconds."""
    first = train_distributed(new_watched_model(), trainer=CpuDDPTrainer, **{**SETTINGS, "epochs": 1})
    model = new_watched_model()
    parallel = {"parallel": {"world_size": 2, "backend": "gloo", "find_unused_parameters": False}}
    second = train_distributed(model, parallel=parallel, trainer=CpuDDPTrainer, **SETTINGS, time=0.0008)
    got = [type(first).__name__, type(second).__name__, model.trainer.parallel.find_unused_parameters]
    Path(f"got-{os.environ['RANK']}.json").write_text(json.dumps(got), encoding="utf-8")


def print_port_and_settings(trainer: Any) -> None:
    facts = ["PORT", os.environ["MASTER_PORT"], str(trainer.model.find_unused_parameters), str(trainer.world_size)]
    os.write(1, " ".join([*facts, os.linesep]).encode())  # at once: two ranks write here


def launch_with_settings(port: str) -> None:
    model = new_watched_model()
    model.add_callback("on_train_start", print_port_and_settings)
    parallel = {"world_size": 2, "master_port": int(port), "backend": "gloo", "find_unused_parameters": False}
    train_distributed(model, parallel={"parallel": parallel}, trainer=CpuDDPTrainer, **{**SETTINGS, "epochs": 1})


def train_with_an_output_device() -> None:
    new_model().train(**{**TWO_PROCESSES, "trainer": AnyOutputDevice})


def train_with_a_wrong_setting() -> None:
    model = new_watched_model()
    try:
        train_distributed(model, parallel={"parallel": {"world_size": 4}}, trainer=CpuDDPTrainer, **SETTINGS)
    except ValueError as error:
        Path(f"error-{os.environ['RANK']}").write_text(str(error), encoding="utf-8")
        while not all(Path(f"error-{rank}").exists() for rank in (0, 1)):  # torchrun ends the others at once
            time.sleep(0.1)
        raise


def train_with_a_run_of_every_rank() -> None:
    model = new_model()
    run = wandb.init(project="demo", id=f"rank-{os.environ['RANK']}", mode="offline")
    add_wandb_callback(model, run=run)
    train_distributed(model, trainer=CpuDDPTrainer, **SETTINGS)
    run.finish()


if __name__ == "__main__":
    run_named(globals())
