"""A block around a training in a thread reaches its workers."""

from __future__ import annotations

import pytest

from support.jobs import NIGHTLY, RunJob


@NIGHTLY
@pytest.mark.parametrize("usage", ["callback", "manager"])
def test_block_reaches_the_workers_of_a_training_in_a_thread(run_job: RunJob, usage: str) -> None:
    run = run_job("scopes.py", "train_in_a_thread", usage).run

    assert (run.state, run.project, run.tags) == ("finished", "block", ("b",))
    assert [row["epoch"] for row in run.history if "epoch" in row] == [1, 2, 2, 2]
    assert not [row for row in run.history if "mistakes" in row]
    assert not [artifact for artifact in run.artifacts if artifact.name.endswith("_model")]
