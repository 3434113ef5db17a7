"""The patched stock callback in real trainings, beside those that `test_matrix.py` has in all releases."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from wandb_server import WandbServer

from support.jobs import NIGHTLY, Job, Patch, RunJob, epochs
from support.releases import Releases

SCENARIO = "patched_trainings.py"


@pytest.fixture(scope="session")
def original_path(release: Path, releases: Releases) -> str:
    """PYTHONPATH that leads to a release as it is."""
    return releases.path(release)


@pytest.fixture(scope="session")
def patched_path(release: Path, releases: Releases, patch: Patch) -> str:
    """PYTHONPATH that leads to a release that the command has patched."""
    return releases.path(patch(release))


def rows(history: list[dict[str, object]]) -> list[set[str]]:
    """Return the names in each row, without W&B's own."""
    return [{key for key in row if not key.startswith("_")} for row in history]


def assert_holds_the_training(history: list[dict[str, object]], *, epochs: int = 2) -> None:
    """Assert that all that stock logs of a training is there, and that each epoch is one row."""
    trained = [row for row in history if "train/box_loss" in row]
    assert [row["epoch"] for row in trained] == list(range(1, epochs + 1))
    assert all({"lr/pg0", "val/box_loss", "metrics/mAP50(B)"} <= set(row) for row in trained)
    assert sum("model/parameters" in row for row in history) == 1
    assert sum("metrics/mAP50(B)" in row for row in history) == epochs + 1  # and the best checkpoint's


def test_run_that_a_shell_names_is_resumed(run_job: RunJob, patched_path: str) -> None:
    with WandbServer() as server:
        variables = {**server.environment, "WANDB_RUN_ID": "mine", "WANDB_PROJECT": "shell"}
        run_job(SCENARIO, "train_twice", PYTHONPATH=patched_path, **variables)
        (run,) = server.runs
    half = len(run.history) // 2

    assert (run.state, run.exit_code, run.sessions) == ("finished", 0, 2)
    assert_holds_the_training(run.history[:half])
    assert rows(run.history[half:]) == rows(run.history[:half])


@NIGHTLY
def test_one_process_logs_to_the_run_of_the_script(run_job: RunJob, patched_path: str) -> None:
    job = run_job(SCENARIO, "train_in_the_scripts_process", PYTHONPATH=patched_path)

    assert_holds_the_training(job.run.history)
    assert rows(job.run.history)[-1] == {"after"}
    assert (job.run.state, job.run.exit_code) == ("finished", 0)


@NIGHTLY
def test_without_the_variables_it_is_the_stock_callback(run_job: RunJob, original_path: str, patched_path: str) -> None:
    original = run_job(SCENARIO, "train_with_plots", PYTHONPATH=original_path).run
    patched = run_job(SCENARIO, "train_with_plots", PYTHONPATH=patched_path, WANDB_PROJECT="half-named").run

    assert rows(patched.history) == rows(original.history)
    assert [row["_step"] for row in patched.history] == [row["_step"] for row in original.history]
    assert (patched.state, patched.exit_code) == (original.state, original.exit_code)
    assert set(patched.config) == set(original.config)


@NIGHTLY
@pytest.mark.parametrize("mode", ["offline", "online"])
def test_failed_training_is_a_failed_run(run_job: RunJob, patched_path: str, mode: str) -> None:
    with WandbServer() as server:
        job = run_job(SCENARIO, "fail", mode, check=False, PYTHONPATH=patched_path, **server.environment)
        (run,) = server.runs if mode == "online" else job.runs

    assert job.exit_code
    assert (run.state, run.exit_code) == ("failed", 1)
    assert [row["epoch"] for row in run.history if "train/box_loss" in row] == [1]


def wait_for(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@NIGHTLY
def test_training_goes_on_when_the_launcher_is_gone(run_job: RunJob, patched_path: str) -> None:
    job = run_job(
        SCENARIO,
        "lose_the_launcher",
        check=False,
        PYTHONPATH=patched_path,
        WANDB_CONSOLE="wrap",  # otherwise the launcher reads the output of the ranks
    )
    wait_for((job.directory / "ended").exists)

    assert (job.directory / "train/weights/best.pt").exists()
    assert job.run.exit_code == 1
    assert 1 in epochs(job)


@NIGHTLY
def test_launcher_that_cannot_be_reached_leaves_a_run_on_disk(run_job: RunJob, patched_path: str) -> None:
    record = {"version": 2, "run_id": "lost", "state": "open", "host": "elsewhere", "mode": "online"}
    job: Job = run_job(
        SCENARIO,
        "train_once",
        WANDB_RUN_ID="lost",
        WANDB_PROJECT="demo",
        ULTRALYTICS_WB_DDP=json.dumps(record),
        WANDB_MODE="online",
        PYTHONPATH=patched_path,
    )

    assert "W&B run lost is out of reach" in job.output
    assert "it is open on host elsewhere" in job.output
    assert job.run.id == "lost"
    assert_holds_the_training(job.run.history)
