"""Trainings that are stopped, orphaned or restarted continue one run; real launches, a real client."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from wandb_server import WandbServer

from support.jobs import NIGHTLY, Job, RunJob, wait_until_closed
from support.measures import assert_is_one_whole_run, epochs_of
from ultralytics_wb_ddp.wandb_client.run_file import read_run

SCENARIO = "interrupted_trainings.py"
NAMES = {
    "open": "run open in the launcher",
    "closed": "run closed and resumed",
    "own": "run of rank 0",
    "users": "the script's run",
}
# The client tells the server what is new, and hears of the Stop button, every 15 s; here, every second.
SENDS_OFTEN = {"WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "1"}

# The Stop button

RunStopped = Callable[..., tuple[Job, WandbServer]]


@pytest.fixture
def run_stopped(run_job: RunJob) -> RunStopped:
    """Run a long training and press Stop once the first epoch of a run, whose id ends in a way, has arrived."""

    def run(usage: str, processes: str = "2", run_id_ends: str = "") -> tuple[Job, WandbServer]:
        with WandbServer() as server:
            over = threading.Event()

            def press() -> None:
                while not over.wait(0.1):
                    for stored in server.runs:
                        if stored.id.endswith(run_id_ends) and epochs_of(stored):
                            server.stop(stored.id)
                            return

            threading.Thread(target=press, daemon=True).start()
            job = run_job(SCENARIO, "train_long", usage, processes, **server.environment, **SENDS_OFTEN)
            over.set()
        return job, server

    return run


@NIGHTLY
@pytest.mark.parametrize("usage", ["open", "closed", "own", "users"])
def test_stop_button_ends_the_training_gracefully(run_stopped: RunStopped, usage: str) -> None:
    job, server = run_stopped(usage)
    last = max(epochs_of(server.runs[0]))

    assert 1 < last < 60
    assert (job.directory / "train/weights/last.pt").exists()
    best_checkpoint_and_end = [last, last]
    complete = [*range(1, last + 1), *best_checkpoint_and_end]
    assert_is_one_whole_run(f"Stop, {NAMES[usage]}", server, epochs=complete, state="finished", exit_code=0)


def test_stop_button_ends_a_training_in_one_process_gracefully(run_stopped: RunStopped) -> None:
    _, server = run_stopped("users", "1")
    last = max(epochs_of(server.runs[0]))

    assert last < 60
    complete = [*range(1, last + 1), last, last]
    assert_is_one_whole_run("Stop, one process", server, epochs=complete, state="finished", exit_code=0)


@NIGHTLY
def test_stop_button_of_another_ranks_run_ends_the_training_gracefully(run_stopped: RunStopped) -> None:
    job, server = run_stopped("own-of-each-rank", run_id_ends="-rank-1")

    assert (job.directory / "train/weights/last.pt").exists()
    assert [(run.state, max(epochs_of(run)) < 60) for run in server.runs] == [("finished", True)] * 2


# A launcher that is gone


@NIGHTLY
@pytest.mark.parametrize("sends", ["late", "often"])
@pytest.mark.parametrize("usage", ["open", "users"])
def test_orphans_train_on_and_keep_the_rows_that_they_log(run_job: RunJob, sends: str, usage: str) -> None:
    with WandbServer() as server:
        variables = {**server.environment, **(SENDS_OFTEN if sends == "often" else {})}
        job = run_job(SCENARIO, "lose_the_launcher", usage, check=False, **variables)
        wait_for_fragment(job)
        if usage == "open":
            wait_until_closed(server)
        (command,) = re.findall(
            r"is gone: the training goes on; .* with: ((?:wandb|ultralytics-wb-ddp) sync .*)", said_by(job)
        )
        subprocess.run(
            command,
            shell=True,
            cwd=job.directory,
            env={**os.environ, **server.environment, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            check=False,  # it complains of the launcher's last record, which the kill has cut
            capture_output=True,
        )

    name = f"launcher killed, {NAMES[usage]}, sends {sends}; then the command that the message names"
    assert_is_one_whole_run(name, server, epochs=[1, 2, 2, 2], state="finished", exit_code=0)


@NIGHTLY
def test_orphans_stop_if_that_is_wanted(run_job: RunJob) -> None:
    with WandbServer() as server:
        job = run_job(SCENARIO, "lose_the_launcher_and_stop", check=False, **server.environment)
        fragment = wait_for_fragment(job)

    assert said_by(job).count("is gone: the training stops at the end of this epoch") == 1
    assert [row["epoch"] for row in read_run(fragment).history] == [2, 2, 2]


def said_by(job: Job) -> str:
    """Return what the job has printed; where the launcher reads the workers' output, they go on to a file."""
    file = job.directory / "train/output.log"
    return job.output + (file.read_text() if file.exists() else "")


def wait_for_fragment(job: Job) -> Path:
    """Return the run file that rank 0 writes after the launcher's end, once it is complete."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        files = sorted((job.directory / "train").rglob("offline-run-*/run-*.wandb"))
        if files and read_run(files[0]).exit_code is not None:
            return files[0]
        time.sleep(0.2)
    raise AssertionError(job.output)


# Restarts


@NIGHTLY
@pytest.mark.parametrize("count_lag", [pytest.param(0.0, id="prompt"), pytest.param(3.0, id="lagging")])
def test_restarted_training_continues_its_run_any_number_of_times(run_job: RunJob, count_lag: float) -> None:
    """Killed whole in the second epoch, resumed on one process and killed again, resumed on two."""
    with WandbServer() as server:
        server.backend.count_lag = count_lag
        job = run_job(SCENARIO, "train_until_all_are_killed", check=False, **server.environment)
        wait_until_closed(server)
        run_job(SCENARIO, "resume_until_killed", str(job.directory), check=False, **server.environment)
        wait_until_closed(server)
        run_job(SCENARIO, "resume_in_two_processes", str(job.directory), **server.environment)

    fault = f"killed whole, resumed, killed, resumed; counts {count_lag:g} s late"
    run = assert_is_one_whole_run(fault, server, epochs=[1, 2, 3, 4, 4, 4], state="finished", exit_code=0)
    best = max(row["metrics/mAP50-95(B)"] for row in run.history if "metrics/mAP50-95(B)" in row)
    assert run.summary["metrics/mAP50-95(B)"] == {"max": best}
    losses = [row["val/box_loss"] for row in run.history if "val/box_loss" in row]
    assert run.summary["val/box_loss"] == {"min": min(losses)}
    assert 1 <= run.summary["best/epoch"] <= 4
    by_epoch = {f"{prefix}/*": "epoch" for prefix in ("train", "lr", "metrics", "val", "ranks")}
    assert run.metrics == {**by_epoch, "batch/*": "batch"}


# torchrun


def test_workers_whose_torchrun_dies_before_they_are_connected_end_at_once(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "lose_torchrun_before_the_workers_are_connected")

    assert "LEFT []" in job.output
    assert "torchrun has ended before its workers were connected" in job.output
