"""A run of the user's own that is finished while an exception is on its way, as ``finally`` does, has failed."""

from __future__ import annotations

import pytest

from support.jobs import Job, RunJob


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
