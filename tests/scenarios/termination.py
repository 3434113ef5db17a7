"""Trainings that SIGTERM reaches while a run is opened, finished or saved."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import wandb

from scenarios.common import CFG, ONE_PROCESS, TWO_PROCESSES, new_model, run_named
from scenarios.terminated_trainer import TerminatedTrainer
from ultralytics_wb_ddp import WandbManager, add_wandb_callback
from ultralytics_wb_ddp.config.options import RunOptions
from ultralytics_wb_ddp.runs.lifecycle import finish_run, init_run


def terminate_this_process() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def be_terminated_while_opening(mark: str) -> None:
    def terminate() -> None:
        while not Path(mark).exists():
            time.sleep(0.1)
        terminate_this_process()

    threading.Thread(target=terminate, daemon=True).start()
    model = new_model()
    add_wandb_callback(model, project="demo")
    model.train(**{**ONE_PROCESS, "epochs": 300})


def be_terminated_while_finishing() -> None:
    model = new_model()
    model.add_callback("on_train_end", lambda _: threading.Timer(0.5, terminate_this_process).start())
    add_wandb_callback(model, project="demo")
    model.train(**ONE_PROCESS)
    time.sleep(60)


def fail_in_a_worker_and_be_terminated() -> None:
    """Fail because another worker has ended, shortly before SIGTERM arrives here, too."""
    os.environ["LOCAL_RANK"] = "0"
    run = init_run(RunOptions(project="demo"), run_id="abc", resume="allow")
    threading.Timer(0.3, terminate_this_process).start()
    finish_run(run, 1)
    time.sleep(60)


def be_terminated_in_a_rank_before_the_training(usage: str, rank: str, moment: str) -> None:
    """Send SIGTERM to one rank when it imports its trainer, or in the first event."""

    def terminate(_: Any) -> None:
        if os.environ.get("RANK") == rank:
            terminate_this_process()
            time.sleep(60)

    model = new_model()
    if moment == "import":
        os.environ["TERMINATED_AT_IMPORT"] = rank
    else:
        model.add_callback("on_pretrain_routine_start", terminate)
    settings = {**TWO_PROCESSES, "trainer": TerminatedTrainer}
    if usage == "users":
        with wandb.init(project="demo") as run:
            add_wandb_callback(model, run=run)
            model.train(**settings)
    else:
        with WandbManager({"wandb": {**CFG["wandb"], "keep_open": usage == "open"}}, "job") as manager:
            add_wandb_callback(model)
            manager.prepare_for_training()
            model.train(**settings)


def be_terminated_before_the_training() -> None:
    run = wandb.init(project="demo")
    run.log({"before": 1})
    add_wandb_callback(new_model(), run=run)
    terminate_this_process()
    time.sleep(60)


def be_terminated_at(event: str) -> None:
    def terminate(trainer_or_validator: Any) -> None:
        if Path("train/results.csv").exists() and getattr(trainer_or_validator, "epoch", 1) == 1:
            terminate_this_process()

    model = new_model()
    add_wandb_callback(model, project="demo")
    model.add_callback(event, terminate)
    model.train(**{**ONE_PROCESS, "epochs": 200})


if __name__ == "__main__":
    run_named(globals())
