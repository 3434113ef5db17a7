"""The example for Slurm, with stand-ins for srun, scancel and scontrol: a job whose time is up, and its second start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.jobs import NIGHTLY, scenario_environment
from support.paths import EXAMPLES, SCENARIOS
from ultralytics_wb_ddp.wandb_client.run_file import RecordedRun, find_run_files, read_run

pytestmark = NIGHTLY
EXAMPLE = EXAMPLES / "slurm.sbatch"

SRUN = f'#!/bin/sh\nexec "{sys.executable}" "{SCENARIOS / "srun.py"}"\n'
SCANCEL = '#!/bin/bash\n[ "$*" = "--signal=TERM 7" ] && kill -TERM $(cat tasks)\n'
SCONTROL = '#!/bin/bash\necho "$*" >> scontrol\n'


@dataclass
class SlurmJob:
    """A job that was late, was started again, and once more when it was over."""

    exit_codes: list[int]
    sessions: list[RecordedRun]
    requests: list[str]
    output: str


@pytest.fixture(scope="module", params=[1, 2], ids=["one-task", "two-tasks"])
def slurm_job(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, shapes: Path) -> SlurmJob:
    directory = tmp_path_factory.mktemp("job")
    for folder in ("home", "yolo", "bin"):
        (directory / folder).mkdir()
    for name, text in {"srun": SRUN, "scancel": SCANCEL, "scontrol": SCONTROL}.items():
        (directory / "bin" / name).write_text(text)
        (directory / "bin" / name).chmod(0o755)
    variables = {
        "PATH": f"{directory / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "7",
        "SLURM_STEP_NUM_TASKS": str(request.param),
    }
    environment = scenario_environment(directory, shapes, variables)
    output, exit_codes = directory / "output.log", []
    for start in range(3):
        with output.open("ab") as target:
            shell = subprocess.Popen(
                ["bash", str(EXAMPLE)],
                cwd=directory,
                env={**environment, "SLURM_RESTART_COUNT": str(start)},
                stdin=subprocess.DEVNULL,
                stdout=target,
                stderr=subprocess.STDOUT,
            )
        if start == 0:
            deadline = time.monotonic() + 120
            while len(list(directory.glob("late-*"))) < request.param:
                assert shell.poll() is None, output.read_text()[-5000:]
                assert time.monotonic() < deadline, output.read_text()[-5000:]
                time.sleep(0.05)
            shell.send_signal(signal.SIGUSR1)
        exit_codes.append(shell.wait(timeout=200))
    sessions = [read_run(file) for file in sorted(find_run_files(directory))]
    requests = (directory / "scontrol").read_text().splitlines()
    return SlurmJob(exit_codes, sessions, requests, output.read_text())


def test_job_whose_time_is_up_is_started_again_until_it_is_done(slurm_job: SlurmJob) -> None:
    assert slurm_job.exit_codes == [143, 0, 0], slurm_job.output[-5000:]
    assert slurm_job.requests == ["requeue 7"]


def test_all_starts_of_a_job_are_one_run(slurm_job: SlurmJob) -> None:
    assert [run.id for run in slurm_job.sessions] == ["job-7", "job-7"]
    epochs = [[row["epoch"] for row in run.history] for run in slurm_job.sessions]
    assert epochs == [[1, 2], [3, 3, 3]]


def test_job_that_is_over_is_not_trained_again(slurm_job: SlurmJob) -> None:
    assert "is over: 3 of 3 epochs, run job-7" in slurm_job.output


def test_start_that_was_cut_off_ends_as_preempted(slurm_job: SlurmJob) -> None:
    assert [(run.state, run.exit_code) for run in slurm_job.sessions] == [("failed", 143), ("finished", 0)]
