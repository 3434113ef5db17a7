"""A run is touched only when it is certain that a training begins or goes on, and a training that fails ends its run."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.jobs import NIGHTLY, RunJob, RunOnline, epochs
from support.releases import Releases

SCENARIO = "certain_trainings.py"


@pytest.mark.parametrize("usage", ["ours", pytest.param("by-hand", marks=NIGHTLY)])
def test_training_that_fails_before_it_begins_leaves_no_run(
    run_job: RunJob, release: Path, releases: Releases, usage: str
) -> None:
    job = run_job(SCENARIO, "fail_before_the_training", usage, PYTHONPATH=releases.path(release))

    assert job.output.count("OPEN 0") == 2
    assert (job.run.state, epochs(job)[0]) == ("finished", 1)  # the one that began after all


@NIGHTLY
def test_launch_that_fails_before_it_begins_leaves_no_run(run_job: RunJob, release: Path, releases: Releases) -> None:
    job = run_job(SCENARIO, "fail_before_the_launch", PYTHONPATH=releases.path(release))

    assert job.output.count("OPEN 0") == 2
    assert job.runs == []


@NIGHTLY
@pytest.mark.parametrize("how", ["active", "given"])
def test_users_run_fails_with_a_training_that_fails_before_it_begins(run_job: RunJob, how: str) -> None:
    job = run_job(SCENARIO, "fail_with_a_run_of_the_user", how, check=False)

    assert job.exit_code == 1
    assert (job.run.state, job.run.exit_code) == ("failed", 1)


@pytest.mark.parametrize(
    ("among", "attempts"),
    [
        ("nothing-else", 1),
        pytest.param("two-processes", 2, marks=NIGHTLY),
        pytest.param("other-runs", 4, marks=NIGHTLY),
    ],
)
def test_run_of_a_finished_training_stays_as_it_is_when_a_resume_is_refused(
    run_online: RunOnline, release: Path, releases: Releases, among: str, attempts: int
) -> None:
    job, server = run_online(SCENARIO, "resume_finished_training", among, PYTHONPATH=releases.path(release))
    (run,) = (run for run in server.runs if run.id.startswith("train_"))

    assert job.output.count("RECORD True") == job.output.count("REFUSED") == attempts
    assert "nothing to resume" in job.output
    assert (run.state, run.exit_code, run.sessions, len(run.history)) == ("finished", 0, 1, 3)


@NIGHTLY
def test_run_of_a_training_that_fails_is_closed_while_its_process_lives(
    run_job: RunJob, release: Path, releases: Releases
) -> None:
    job = run_job(SCENARIO, "fail_in_epoch_2", PYTHONPATH=releases.path(release))

    assert "OPEN 0" in job.output
    assert (job.run.state, job.run.exit_code, epochs(job)) == ("failed", 3, [1])


@NIGHTLY
@pytest.mark.parametrize(("when", "exit_code"), [("before-it-begins", 1), ("without-teardown", 3)])
def test_manager_never_waits_for_a_session_of_its_own_process(run_online: RunOnline, when: str, exit_code: int) -> None:
    job, server = run_online(SCENARIO, "fail_with_a_manager", when, check=False)
    (run,) = server.runs

    assert job.exit_code == exit_code
    assert (run.state, run.exit_code) == ("failed", exit_code)
    assert run.destroyed_rows == []
