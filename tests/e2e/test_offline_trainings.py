"""The end of an offline run of the user's that trainings log to: the last line names the command that sends it."""

from __future__ import annotations

import signal

import pytest

from support.jobs import NIGHTLY, RunJob
from support.last_word import check_last_word, commands

SCENARIO = "offline_runs.py"


@NIGHTLY
@pytest.mark.parametrize(("processes", "end"), [("one-process", "finish-twice"), ("two-processes", "finish")])
def test_last_line_names_the_command_after_a_training(run_job: RunJob, processes: str, end: str) -> None:
    check_last_word(run_job(SCENARIO, "train_and_end", processes, end, WANDB_SILENT="false"))


@NIGHTLY
def test_last_line_names_the_command_for_the_active_run_that_two_processes_log_to(run_job: RunJob) -> None:
    check_last_word(run_job(SCENARIO, "train_with_active_run", "two-processes", WANDB_SILENT="false"))


@NIGHTLY
def test_last_line_names_the_command_where_sigterm_ends_the_training(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "be_terminated", check=False, WANDB_SILENT="false")

    assert job.exit_code == 128 + signal.SIGTERM
    check_last_word(job)


@NIGHTLY
def test_each_rank_names_the_command_for_a_run_of_its_own(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "train_with_a_run_for_each_rank", WANDB_SILENT="false")
    runs = {run.id: run for run in job.runs}

    assert {run_id: run.group for run_id, run in runs.items()} == {
        "mine": "",
        "mine-rank-0": "mine",
        "mine-rank-1": "mine",
    }
    assert {line.rpartition("/")[2] for line in commands(job)} == {run.path.parent.name for run in runs.values()}
    assert len(commands(job)) == len(runs)
    assert " run mine is on disk only" in job.output.splitlines()[-1]
    assert "made run mine-rank-0 of project demo; each other rank logs to one of its own in group mine" in job.output
