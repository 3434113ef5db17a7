"""The numbers of each rank are in the one run, and no row waits for a rank."""

from __future__ import annotations

import pytest

from support.jobs import NIGHTLY, Job, RunJob

SCENARIO = "rank_metrics.py"
NUMBERS = {"images_per_second", "data_wait", "validation", "loss"}


def test_every_epoch_has_the_numbers_of_its_ranks(usage_c: Job) -> None:
    rows = usage_c.run.rows("ranks/0/loss")

    assert [row["epoch"] for row in rows] == [1, 2]
    for row in rows:
        assert {key.removeprefix("ranks/0/") for key in row if key.startswith("ranks/0/")} == NUMBERS
        assert row["ranks/0/images_per_second"] > 0
        assert row["ranks/0/validation"] > 0
    reported = [row for row in rows if "ranks/1/loss" in row]
    assert reported  # a rank that reports late is left out
    assert all(row["ranks/spread/loss"] == abs(row["ranks/0/loss"] - row["ranks/1/loss"]) > 0 for row in reported)
    losses = [sum(row[f"train/{part}_loss"] for part in ("box", "cls", "dfl")) for row in rows]
    assert [row["ranks/0/loss"] for row in rows] == pytest.approx(losses, abs=1e-3)


@NIGHTLY
def test_waiting_for_data_and_a_rank_that_hangs_are_seen_and_delay_no_row(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "train_with_a_slow_and_silent_rank")

    first, second = job.run.rows("ranks/0/loss")
    assert first["ranks/1/data_wait"] > 0.5 > first["ranks/0/data_wait"]
    assert first["ranks/spread/data_wait"] == first["ranks/1/data_wait"] - first["ranks/0/data_wait"]
    assert not [key for key in second if key.startswith("ranks/1/")]


@NIGHTLY
def test_numbers_of_ranks_can_be_switched_off(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "train_without_rank_metrics")

    assert not [key for row in job.run.history for key in row if key.startswith("ranks/")]
