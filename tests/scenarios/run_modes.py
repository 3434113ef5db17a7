"""Trainings in all run modes and rank scopes, and modes that are refused."""

from __future__ import annotations

import json
import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any, cast

import wandb

from scenarios.common import CFG, SETTINGS, TWO_PROCESSES, new_model, run_named
from ultralytics_wb_ddp import WandbManager, add_wandb_callback, get_wandb_run, train_distributed
from ultralytics_wb_ddp.testing.cpu_trainers import CpuDDPTrainer


def notes_of(name: str) -> Path:
    return Path(f"{name}-{os.environ['RANK']}.json")


def note(name: str, trainer: Any) -> None:
    """Note the run that this rank is given, with a checksum of its weights."""
    run = get_wandb_run()
    weights = sum(float(part.detach().double().abs().sum()) for part in trainer.model.parameters())
    notes_of(name).write_text(json.dumps({"run": run and run.id, "weights": weights}), encoding="utf-8")
    print("this rank trains")


def train_in_each(*modes: str) -> None:
    """Train in each mode, such as ``"shared-global"``, one after the other."""
    for name in modes:
        run_mode, rank_scope = name.split("-")
        model = new_model()
        model.add_callback("on_train_epoch_end", partial(note, name))
        add_wandb_callback(model, project=name, run_mode=cast("Any", run_mode), rank_scope=cast("Any", rank_scope))
        settings = {**SETTINGS, "name": name, "epochs": 1, "batch": 16, "nbs": 16}
        metrics = train_distributed(model, **settings, trainer=CpuDDPTrainer, device="0,1")
        assert get_wandb_run() is None
        facts = {**json.loads(notes_of(name).read_text(encoding="utf-8")), "has_metrics": metrics is not None}
        notes_of(name).write_text(json.dumps(facts), encoding="utf-8")


def train_beside_the_managers_run() -> None:
    model = new_model()
    CFG["wandb"]["run_mode"] = "new"
    with WandbManager(CFG, "job") as manager:
        manager.run.log({"before": 1})
        add_wandb_callback(model)
        manager.prepare_for_training()
        model.train(**{**TWO_PROCESSES, "epochs": 1})
        manager.resume_after_training()
        manager.run.log({"after": 1})


def train_with_the_manager_as_a_writer(state: str) -> None:
    model = new_model()
    CFG["wandb"].update(run_mode="shared", keep_open=state == "open")
    with WandbManager(CFG, "job") as manager:
        manager.run.config.update({"mine": 1})
        manager.run.log({"before": 1})
        add_wandb_callback(model)
        manager.prepare_for_training()
        model.train(**{**TWO_PROCESSES, "epochs": 1})
        manager.resume_after_training()
        manager.run.log({"after": 1})


def kill_in_epoch_2(rank: str, trainer: Any) -> None:
    if trainer.epoch == 1 and os.environ["RANK"] == rank:
        time.sleep(2)
        os.kill(os.getpid(), signal.SIGKILL)


def train_and_kill(rank: str, run_mode: str) -> None:
    model = new_model()
    model.add_callback("on_train_epoch_start", partial(kill_in_epoch_2, rank))
    add_wandb_callback(model, project="demo", run_mode=cast("Any", run_mode))
    model.train(**TWO_PROCESSES)


# Modes that are refused


def share_offline() -> None:
    add_wandb_callback(new_model(), run_mode="shared")


def share_offline_with_a_manager() -> None:
    CFG["wandb"]["run_mode"] = "shared"
    WandbManager(CFG, "job").initialize()


def share_a_run_of_one_writer() -> None:
    model = new_model()
    os.environ["WANDB_MODE"] = "online"
    with wandb.init(project="demo", mode="offline") as run:
        add_wandb_callback(model, run=run, run_mode="shared")
        model.train(**TWO_PROCESSES)


def use_an_unknown_mode() -> None:
    add_wandb_callback(new_model(), run_mode=cast("Any", "every"))


def set_the_local_rank_alone() -> None:
    model = new_model()
    os.environ["LOCAL_RANK"] = "0"
    add_wandb_callback(model)


def ask_for_nodes_that_are_unknown() -> None:
    model = new_model()
    del os.environ["GROUP_RANK"], os.environ["LOCAL_WORLD_SIZE"]
    try:
        add_wandb_callback(model, rank_scope="worker")
    except ValueError as error:
        Path(f"refused-{os.environ['RANK']}").write_text(str(error), encoding="utf-8")


if __name__ == "__main__":
    run_named(globals())
