"""Trainings in two processes and in one that end in every way, with a run of every origin."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import wandb
from ultralytics import YOLO

from scenarios.common import CFG, ONE_PROCESS, TWO_PROCESSES, new_model, run_named
from ultralytics_wb_ddp import WandbManager, add_wandb_callback, train_distributed


def train_with_manager(model: YOLO, settings: dict[str, Any], *, keep_open: bool) -> None:
    with WandbManager({"wandb": {**CFG["wandb"], "keep_open": keep_open}}, "job") as manager:
        manager.run.log({"before": 1})
        add_wandb_callback(model)
        manager.prepare_for_training()
        model.train(**settings)


def train_with_open_run(model: YOLO, settings: dict[str, Any]) -> None:
    train_with_manager(model, settings, keep_open=True)


def train_with_closed_run(model: YOLO, settings: dict[str, Any]) -> None:
    train_with_manager(model, settings, keep_open=False)


def train_with_run_of_rank_0(model: YOLO, settings: dict[str, Any]) -> None:
    add_wandb_callback(model, project="demo")
    model.train(**settings)


def train_with_users_run(model: YOLO, settings: dict[str, Any]) -> None:
    with wandb.init(project="demo") as run:
        run.log({"before": 1})
        add_wandb_callback(model, run=run)
        model.train(**settings)


USAGES: dict[str, tuple[Callable[[YOLO, dict[str, Any]], None], dict[str, Any]]] = {
    "open": (train_with_open_run, TWO_PROCESSES),  # in the launcher
    "closed": (train_with_closed_run, TWO_PROCESSES),  # and resumed
    "own": (train_with_run_of_rank_0, TWO_PROCESSES),
    "users": (train_with_users_run, TWO_PROCESSES),
    "alone": (train_with_run_of_rank_0, ONE_PROCESS),
    "users-alone": (train_with_users_run, ONE_PROCESS),
}


def be_killed() -> None:
    time.sleep(2)  # rank 0 has logged the first epoch then
    os.kill(os.getpid(), signal.SIGKILL)


def exit_at_once() -> None:
    raise SystemExit(3)


def exit_later() -> None:
    time.sleep(2)
    raise SystemExit(3)


def raise_later() -> None:
    time.sleep(2)
    msg = "of rank 1"
    raise RuntimeError(msg)


def be_terminated() -> None:
    time.sleep(2)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)


def terminate_rank_0() -> None:
    time.sleep(3)  # rank 0 waits for this rank's gradients by now, where no Python code runs
    os.kill(int(Path("rank-0.pid").read_text(encoding="utf-8")), signal.SIGTERM)
    time.sleep(60)


def terminate_launcher() -> None:
    time.sleep(2)
    os.kill(int(os.environ["LAUNCHER"]), signal.SIGTERM)
    time.sleep(60)


def press_ctrl_c() -> None:
    time.sleep(2)
    os.killpg(int(os.environ["TERMINAL"]), signal.SIGINT)
    time.sleep(60)


def terminate_all(*, workers_first: bool) -> None:
    launcher = psutil.Process(int(os.environ["LAUNCHER"]))
    launch = [each for each in [launcher, *launcher.children(recursive=True)] if "python" in each.name()]
    if workers_first:
        launch.reverse()
    kill = "; ".join(f"kill -TERM {each.pid}" for each in launch)
    subprocess.Popen(["sh", "-c", kill], start_new_session=True)
    time.sleep(60)


def terminate_workers_first() -> None:
    terminate_all(workers_first=True)


def terminate_launcher_first() -> None:
    terminate_all(workers_first=False)


def note_pid(_: Any) -> None:
    Path(f"rank-{os.environ['RANK']}.pid").write_text(str(os.getpid()), encoding="utf-8")


def in_epoch_2(rank: str, act: Callable[[], None]) -> Callable[[Any], None]:
    """Return a callback by which a rank does something in the second epoch."""

    def callback(trainer: Any) -> None:
        if trainer.epoch == 1 and os.environ.get("RANK", "0") == rank:
            act()

    return callback


def train(usage: str, rank: str, act: str) -> None:
    """Train in a usage, in whose second epoch a rank does something."""
    os.environ["LAUNCHER"] = str(os.getpid())
    if act == "press_ctrl_c":
        os.setpgid(0, 0)
        os.environ["TERMINAL"] = str(os.getpgid(0))
    model = new_model()
    if act == "terminate_rank_0":
        model.add_callback("on_train_start", note_pid)
    model.add_callback("on_train_epoch_start", in_epoch_2(rank, globals()[act]))
    train_in_usage, settings = USAGES[usage]
    train_in_usage(model, settings)


def train_in_every_rank(usage: str) -> None:
    """Train under torchrun, where rank 1 ends in the second epoch."""
    model = new_model()
    model.add_callback("on_train_epoch_start", in_epoch_2("1", exit_later))
    with WandbManager({"wandb": {**CFG["wandb"], "keep_open": usage == "open"}}, "job") as manager:
        if manager.run:  # which the other rank has not
            manager.run.log({"before": 1})
        add_wandb_callback(model)
        manager.prepare_for_training()
        train_distributed(model, **TWO_PROCESSES)


def fail_after_the_training() -> None:
    model = new_model()
    add_wandb_callback(model, project="demo")
    model.add_callback("teardown", lambda _: sys.exit(3))
    model.train(**ONE_PROCESS)


if __name__ == "__main__":
    run_named(globals())
