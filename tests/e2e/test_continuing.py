"""A training continues the right run, and the run of a failed training ends as failed; every training is a real one."""

from __future__ import annotations

import json

import pytest

from support.jobs import END, EPOCHS, NIGHTLY, RunJob, RunOnline, epochs
from support.measures import epochs_of

pytestmark = NIGHTLY
SCENARIO = "continuing.py"


def test_resumed_training_continues_its_run(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "resume")
    interrupted, resumed = job.runs

    assert resumed.id == interrupted.id
    assert (interrupted.state, interrupted.exit_code) == ("failed", 1)
    assert (resumed.state, resumed.exit_code) == ("finished", 0)
    assert [row.get("epoch") for row in interrupted.history] == [1]
    assert [row.get("epoch") for row in resumed.history] == [2, 2, 2]


def test_training_that_is_resumed_without_its_record_says_that_its_run_is_new(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "resume_on_another_machine")
    interrupted, resumed = job.runs

    assert resumed.id != interrupted.id
    told = f"WARNING: the resumed training goes on in the new run {resumed.id}: which run holds its first epochs"
    assert job.output.count(told) == 1
    assert "no wandb_run.json beside the checkpoint" in job.output
    assert "WANDB_RUN_ID" in job.output


def test_run_that_is_given_wins_over_the_one_of_the_training(run_online: RunOnline) -> None:
    job, server = run_online(SCENARIO, "resume_into_a_given_run")

    assert [run.id for run in server.runs] == ["given"]
    assert epochs_of(server.runs[0]) == [2, 2, 2]
    assert json.loads((job.directory / "train/wandb_run.json").read_text())["id"] == "given"


def test_forgotten_prepare_for_training_does_no_harm(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "forget_to_prepare")

    assert epochs(job) == [None, *EPOCHS, END, None]
    assert job.run.state == "finished"


def test_active_run_is_continued_without_being_given(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "train_into_the_active_run")

    assert epochs(job) == [*EPOCHS, END, None]


def test_run_named_by_the_environment_is_continued(run_job: RunJob) -> None:
    named = {"WANDB_RUN_ID": "made-elsewhere", "WANDB_PROJECT": "theirs"}
    job = run_job(SCENARIO, "train_into_the_run_of_the_environment", **named)

    assert (job.run.id, job.run.project, job.run.state) == ("made-elsewhere", "theirs", "finished")
    assert epochs(job) == [*EPOCHS, END]


def test_training_in_one_process_adopts_the_run_and_leaves_it_open(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "train_in_the_managers_process")

    assert epochs(job) == [*EPOCHS, END, None]
    assert (job.run.state, job.run.exit_code) == ("finished", 0)


def test_two_trainings_in_one_process_give_two_complete_runs(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "train_two_jobs")
    first, second = job.runs

    assert job.output.count("AS BEFORE True") == 2
    for number, run in enumerate((first, second), start=1):
        assert run.name == f"job-{number}"
        assert [row.get("epoch") for row in run.history] == [1, 1, 1, None]
        assert run.history[-1]["number"] == number
        assert run.state == "finished"


@pytest.mark.parametrize("usage", ["A", "B", "C"])
def test_exception_in_rank_0_ends_in_a_failed_run_with_the_rows_of_before(run_job: RunJob, usage: str) -> None:
    job = run_job(SCENARIO, "fail_in_rank_0", usage, check=False)

    assert job.exit_code == 1
    assert "LAUNCHER SAW 1" in job.output
    assert (job.run.state, job.run.exit_code) == ("failed", 1)
    assert epochs(job) == [1]
    assert "train/box_loss" in job.run.history[0]
