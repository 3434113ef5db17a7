"""Batches as rows, where they are asked for."""

from __future__ import annotations

import json

import pytest

from support.jobs import NIGHTLY, RunJob
from support.releases import Releases

pytestmark = NIGHTLY
SCENARIO = "batches.py"


def test_every_nth_batch_is_a_row_on_an_axis_of_its_own(run_job: RunJob) -> None:
    """Three epochs of three batches; the third is trained after an interruption."""
    job = run_job(SCENARIO, "train_three_epochs_with_an_interruption")

    seen = [json.loads(line) for line in (job.directory / "batches.jsonl").read_text().splitlines()]
    rows = [row for run in job.runs for row in run.rows("batch")]
    assert len(seen) == 9
    assert [row["batch"] for row in rows] == [2, 4, 6, 8]
    for row in rows:
        assert {key: row[key] for key in row if key.startswith("batch/")} == pytest.approx(seen[row["batch"] - 1])
    assert [row["epoch"] for run in job.runs for row in run.rows("train/box_loss")] == [1, 2, 3]
    assert {run.metrics["batch/*"] for run in job.runs} == {"batch"}


def test_batches_of_two_processes_are_those_of_rank_0(run_job: RunJob) -> None:
    run = run_job(SCENARIO, "log_each_batch", "2").run

    assert [row["batch"] for row in run.rows("batch")] == list(range(1, len(run.rows("batch")) + 1))
    assert {key.rpartition("/")[2] for key in run.rows("batch")[0]} >= {"box_loss", "cls_loss", "dfl_loss", "pg0"}


@pytest.mark.parametrize("version", ["8.3.0", "8.4.139"])
def test_batches_are_rows_in_older_releases(run_job: RunJob, releases: Releases, version: str) -> None:
    path = releases.path(releases.ultralytics(version))
    run = run_job(SCENARIO, "log_each_batch", "1", PYTHONPATH=path).run

    assert {key for key in run.rows("batch")[0] if not key.startswith("_")} >= {
        "batch",
        "batch/box_loss",
        "batch/cls_loss",
        "batch/dfl_loss",
        "batch/lr/pg0",
    }
