"""A training in a Flyte task, in the run that W&B's plugin for Flyte has made for the task."""

from __future__ import annotations

import json

import pytest

from support.jobs import END, EPOCHS, NIGHTLY, Job, LaunchAgents, RunJob, RunOnline, epochs
from support.paths import EXAMPLES

pytest.importorskip("flyteplugins.wandb", reason="the extra 'flyte' is not installed")

EXAMPLE = EXAMPLES / "flyte_task.py"
SCENARIO = "flyte_tasks.py"
pytestmark = NIGHTLY


RUNS_OF_RANKS = {"one": [["failing", "failing"]], "two": [["failing", "failing"], [None, None]]}


@pytest.fixture(scope="module", params=["one", "two"])
def processes(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def failing_job(run_job: RunJob, processes: str) -> Job:
    """A task whose training fails in its second epoch."""
    return run_job(SCENARIO, "failing", processes)


def test_training_in_a_flyte_task_is_one_run(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "example", str(EXAMPLE))

    assert f"run {job.run.id}" in job.output, "as the task has returned it"
    assert epochs(job) == [*EPOCHS, END]
    assert (job.run.state, job.run.exit_code) == ("finished", 0)
    assert job.run.summary["weights"].endswith("best.pt"), "which the task has logged after the training"


def test_training_that_fails_in_a_flyte_task_is_a_failed_run(failing_job: Job) -> None:
    assert "the task has failed" in failing_job.output
    assert epochs(failing_job) == [1]
    assert (failing_job.run.state, failing_job.run.exit_code) == ("failed", 1)


def test_both_ways_to_the_run_agree_in_each_process(failing_job: Job, processes: str) -> None:
    notes = sorted(failing_job.directory.glob("runs-of-rank-*.json"))

    assert [json.loads(file.read_text()) for file in notes] == RUNS_OF_RANKS[processes]


def test_task_whose_processes_are_there_already_is_one_run(launch_agents: LaunchAgents) -> None:
    job = launch_agents(SCENARIO, "elastic")

    assert job.exit_code == 0, job.output[-5000:]
    assert epochs(job) == [*EPOCHS, END]
    assert (job.run.id, job.run.state) == ("elastic", "finished")


def test_run_that_the_plugin_opens_on_a_cluster_can_be_used(run_online: RunOnline) -> None:
    job, server = run_online(SCENARIO, "shared_run")

    (run,) = server.runs
    assert job.exit_code == 0
    assert (run.id, run.state) == ("the-task", "finished")
    assert [row["epoch"] for row in run.history] == [*EPOCHS, END]
