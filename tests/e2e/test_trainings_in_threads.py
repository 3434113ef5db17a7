"""Trainings outside of the main thread, where engines such as Flyte and Ray have them, also beside each other."""

from __future__ import annotations

import pytest

from support.jobs import END, EPOCHS, Job, RunJob


@pytest.fixture(scope="module")
def threads(run_job: RunJob) -> Job:
    return run_job("threads.py", "train_side_by_side")


@pytest.mark.parametrize(
    ("name", "epochs", "state", "exit_code"), [("works", [*EPOCHS, END], "finished", 0), ("fails", [1], "failed", 1)]
)
def test_training_in_a_thread_has_a_run_of_its_own(
    threads: Job, name: str, epochs: list[int], state: str, exit_code: int
) -> None:
    (run,) = (run for run in threads.runs if run.name == name)

    assert [row["epoch"] for row in run.history] == epochs
    assert (run.state, run.exit_code) == (state, exit_code)


@pytest.mark.parametrize("name", ["works", "fails"])
def test_each_thread_is_given_the_run_of_its_training(threads: Job, name: str) -> None:
    (run,) = (run for run in threads.runs if run.name == name)

    assert run.summary["seen_by"] == name
