"""A training in the workers of Ray Train, one of which dies."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import pytest

from support.jobs import NIGHTLY, job_environment
from support.paths import EXAMPLES
from ultralytics_wb_ddp.wandb_client.run_file import RecordedRun, find_run_files, read_run

pytest.importorskip("ray.train", reason="the extra 'ray' is not installed")

pytestmark = NIGHTLY
EXAMPLE = EXAMPLES / "ray_train.py"
EPOCHS = 12


@dataclass
class RayJob:
    """A job in which the worker of rank 1 was killed."""

    exit_code: int
    output: str
    sessions: list[RecordedRun]


@pytest.fixture(scope="module")
def ray_job(tmp_path_factory: pytest.TempPathFactory) -> RayJob:
    directory = tmp_path_factory.mktemp("job")
    for folder in ("home", "yolo"):
        (directory / folder).mkdir()
    environment = job_environment(directory, directory)
    command = [sys.executable, str(EXAMPLE), "--cpu", "--name", "train", "--epochs", str(EPOCHS)]
    output, results = directory / "output.log", directory / "runs/train/results.csv"
    with output.open("wb") as target:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env={**environment, "RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"},
            stdin=subprocess.DEVNULL,
            stdout=target,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 240
        while not results.exists() or len(results.read_text().splitlines()) < 4:
            assert process.poll() is None, output.read_text()[-5000:]
            assert time.monotonic() < deadline, output.read_text()[-5000:]
            time.sleep(0.05)
        (rank_1,) = re.findall(r"pid=(\d+)\) world_rank=1", output.read_text())
        os.kill(int(rank_1), signal.SIGKILL)
        exit_code = process.wait(timeout=240)
    finally:
        process.kill()
    sessions = [read_run(file) for file in sorted(find_run_files(directory))]
    return RayJob(exit_code, output.read_text(), sessions)


def test_training_that_ray_starts_again_goes_on_in_its_run(ray_job: RayJob) -> None:
    assert ray_job.exit_code == 0, ray_job.output[-5000:]
    assert [run.id for run in ray_job.sessions] == ["train", "train"]
    before, after = ([row["epoch"] for row in run.history] for run in ray_job.sessions)
    assert before[0] == 1
    # An epoch that was not validated yet is trained again; Ray may kill rank 0 between a checkpoint and its row.
    assert before[-1] <= after[0] <= before[-1] + 2
    assert after[-1] == EPOCHS


def test_session_in_which_a_worker_of_ray_dies_has_failed(ray_job: RayJob) -> None:
    assert [(run.state, run.exit_code) for run in ray_job.sessions] == [("failed", 1), ("finished", 0)]
