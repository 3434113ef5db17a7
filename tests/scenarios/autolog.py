"""Scripts that log with ``autolog``, or with no line at all under ``ultralytics-wb-ddp run``."""

from __future__ import annotations

from typing import Any

from scenarios.common import ONE_PROCESS, TWO_PROCESSES, new_model, run_named
from ultralytics_wb_ddp import add_wandb_callback, autolog
from ultralytics_wb_ddp.testing.cpu_trainers import CpuDDPTrainer

ONE_EPOCH = {**ONE_PROCESS, "trainer": CpuDDPTrainer, "epochs": 1}


def train(name: str) -> None:
    """Train as a script that knows nothing of W&B."""
    new_model().train(**{**TWO_PROCESSES, "name": name})


def fail_in_epoch_2(trainer: Any) -> None:
    if trainer.epoch == 1:
        raise InterruptedError


def fail() -> None:
    model = new_model()
    model.add_callback("on_train_epoch_start", fail_in_epoch_2)
    model.train(**ONE_PROCESS, trainer=CpuDDPTrainer)


def train_as_rank() -> None:
    """Train as one process of torchrun."""
    new_model().train(**{**TWO_PROCESSES, "exist_ok": True})


def train_several_models() -> None:
    """Train models that are made before and after the call, one with a callback, and one after the end of autolog."""
    before, own = new_model(), new_model()
    autolog(project="demo", tags=["all"])
    add_wandb_callback(own, project="demo", tags=["own"])
    trainings: list[tuple[str, Any]] = [("before", before), ("after", new_model()), ("own", own)]
    for name, model in trainings:
        model.train(**{**ONE_EPOCH, "name": name})
    autolog(disable=True)
    before.train(**{**ONE_EPOCH, "name": "disabled"})


def train_in_two_processes() -> None:
    autolog(project="demo")
    train("train")


def tune() -> None:
    """Tune without a word about W&B. The tuner trains in processes of the ``yolo`` command."""
    arguments = {name: value for name, value in ONE_EPOCH.items() if name not in {"trainer", "name"}}
    new_model().tune(**arguments, iterations=2)


def tune_with_autolog() -> None:
    autolog(project="demo")
    tune()


def tune_with_ray() -> None:
    """Tune in the workers of a local Ray."""
    from ray import tune

    autolog(project="demo")
    space = {"lr0": tune.grid_search([0.0001, 0.01])}
    options = {"name": "tune", "use_ray": True, "iterations": 1, "space": space, "search_alg": "random"}
    new_model().tune(**{**ONE_PROCESS, **options})


if __name__ == "__main__":
    run_named(globals())
