"""A run of the user's own says how its script ended: by an exception, on whose way ``finally`` finishes it, or SIGTERM."""

from __future__ import annotations

import pytest
from wandb_server import WandbServer

from support.jobs import NIGHTLY, Job, RunJob


@pytest.fixture(scope="module")
def failing(run_job: RunJob) -> Job:
    return run_job("failing_scripts.py", "finish_in_every_way")


@pytest.mark.parametrize(
    ("run_id", "state", "exit_code"),
    [
        ("without-exit-code", "failed", 1),
        ("with-exit-code-0", "failed", 1),
        ("with-its-own-exit-code", "failed", 7),
        ("exited", "failed", 3),
        ("dealt-with", "finished", 0),
        ("after-another-failure", "finished", 0),
        ("other", "finished", 0),
    ],
)
def test_run_ends_as_the_training_that_it_was_given_to(failing: Job, run_id: str, state: str, exit_code: int) -> None:
    (run,) = (run for run in failing.runs if run.id == run_id)

    assert (run.state, run.exit_code) == (state, exit_code)


@NIGHTLY
def test_users_run_is_preempted_before_the_training_begins(run_job: RunJob) -> None:
    with WandbServer() as server:
        job = run_job("termination.py", "be_terminated_before_the_training", check=False, **server.environment)

    (run,) = server.runs
    assert job.exit_code == 143
    assert [row["before"] for row in run.history] == [1]
    assert (run.state, run.exit_code) == ("preempted", 143)
