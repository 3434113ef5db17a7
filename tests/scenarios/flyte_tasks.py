"""Tasks of Flyte that train in the run of W&B's plugin."""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any

import flyte
import wandb
from flyteplugins.wandb import get_wandb_run, wandb_init

from scenarios.common import ONE_PROCESS, SETTINGS, TWO_PROCESSES, new_model, run_named
from ultralytics_wb_ddp import add_wandb_callback, train_distributed
from ultralytics_wb_ddp.testing.cpu_trainers import CpuDDPTrainer

environment = flyte.TaskEnvironment("yolo")


def fail_in_epoch_2(trainer: Any) -> None:
    """Fail in the second epoch; in the first one note the runs that this rank finds."""
    import flyteplugins.wandb

    import ultralytics_wb_ddp

    if trainer.epoch == 1:
        raise RuntimeError
    runs = [module.get_wandb_run() for module in (ultralytics_wb_ddp, flyteplugins.wandb)]
    notes = Path(f"runs-of-rank-{os.environ.get('RANK', '0')}.json")
    notes.write_text(json.dumps([run and run.id for run in runs]), encoding="utf-8")


@wandb_init(project="demo", id="failing")  # type: ignore[untyped-decorator]  # the plugin carries no types
@environment.task
def failing_task(processes: str) -> None:
    model = new_model()
    add_wandb_callback(model, run=get_wandb_run())
    model.add_callback("on_train_epoch_start", fail_in_epoch_2)
    model.train(**(TWO_PROCESSES if processes == "two" else ONE_PROCESS))


@wandb_init(project="demo", id="elastic")  # type: ignore[untyped-decorator]  # the same
@environment.task
def elastic_task() -> None:
    model = new_model()
    add_wandb_callback(model, run=get_wandb_run())
    train_distributed(model, trainer=CpuDDPTrainer, **SETTINGS)


def example(file: str) -> None:
    sys.argv = ["flyte_task.py", "--cpu"]
    Path("yolo11.yaml").symlink_to(os.environ["MODEL"])  # where "yolo11n.yaml" is looked for
    runpy.run_path(file, run_name="__main__")


def failing(processes: str) -> None:
    try:
        flyte.with_runcontext(mode="local").run(failing_task, processes=processes)
    except flyte.errors.RuntimeUserError:
        print("the task has failed")


def elastic() -> None:
    flyte.with_runcontext(mode="local").run(elastic_task)


def shared_run() -> None:
    shared = wandb.Settings(mode="shared", x_primary=True, x_label="a0")  # as the plugin has it outside of local mode
    run = wandb.init(project="demo", id="the-task", reinit="create_new", settings=shared)
    model = new_model()
    add_wandb_callback(model, run=run)
    model.train(**TWO_PROCESSES)
    run.finish(exit_code=0)


if __name__ == "__main__":
    run_named(globals())
