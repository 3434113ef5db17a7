"""A run that a rank without a run of its own has opened."""

from __future__ import annotations

from support.jobs import RunJob


def test_run_that_a_rank_without_a_run_has_opened_is_named(run_job: RunJob) -> None:
    job = run_job("unused_runs.py", "open_a_run_that_gets_no_rows")

    told = "this rank has opened run theirs, which gets no rows of this training: rank 0 logs it; call wandb.init on"
    assert job.output.count(told) == 1
