"""The row of an epoch holds the numbers that were measured in it, once, whatever interrupts the training."""

from __future__ import annotations

import json

import pytest

from support.jobs import NIGHTLY, Job, RunJob
from support.releases import Releases

SCENARIO = "epochs.py"


def rows_of(job: Job) -> list[dict[str, object]]:
    return [row for run in job.runs for row in run.history]


def numbered(job: Job, key: str) -> list[object]:
    return [row["epoch"] for row in rows_of(job) if key in row]


def record_of(job: Job) -> dict[str, object]:
    record = json.loads((job.directory / "train/wandb_run.json").read_text())
    assert isinstance(record, dict)
    return record


@pytest.fixture(scope="module")
def seldom_validated(run_job: RunJob) -> Job:
    """Five epochs of which the second and the last are validated; the third fails when it is saved."""
    return run_job(SCENARIO, "validate_seldom")


@NIGHTLY
def test_metrics_are_in_the_rows_of_epochs_that_were_validated(seldom_validated: Job) -> None:
    assert numbered(seldom_validated, "train/box_loss") == [1, 2, 3, 4, 5]
    assert numbered(seldom_validated, "val/box_loss") == [2, 5]
    assert numbered(seldom_validated, "metrics/mAP50(B)") == [2, 5, 5]


@NIGHTLY
def test_model_is_described_in_the_first_epoch_and_its_speed_once_it_was_measured(seldom_validated: Job) -> None:
    assert numbered(seldom_validated, "model/parameters") == [1]
    assert numbered(seldom_validated, "model/speed_PyTorch(ms)") == [2]


@NIGHTLY
def test_best_values_are_of_epochs_that_were_validated(seldom_validated: Job) -> None:
    record, summary = record_of(seldom_validated), seldom_validated.runs[-1].summary
    losses = [row["val/box_loss"] for row in rows_of(seldom_validated) if "val/box_loss" in row]
    best = record["best"]

    assert isinstance(best, dict)
    assert best["val/box_loss"] == pytest.approx(min(losses))
    assert record["best_epoch"] in {2, 5}
    assert summary["best/epoch"] == record["best_epoch"]


def test_each_epoch_is_logged_once_whatever_interrupts_it(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "interrupt_each_event")

    assert len(job.runs) == 6
    assert len({run.id for run in job.runs}) == 1
    assert numbered(job, "train/box_loss") == [1, 2, 3, 4]
    assert numbered(job, "val/box_loss") == [1, 2, 3, 4]
    batches = [row["batch"] for row in rows_of(job) if "batch" in row]
    assert batches == list(range(1, len(batches) + 1))
    assert len(batches) > 16
    assert record_of(job)["batches"] == len(batches)
    assert "earlier training" not in job.output


@NIGHTLY
def test_epoch_that_was_saved_is_logged_although_the_process_was_killed_then_also_the_first(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "train_after_two_kills")

    assert numbered(job, "train/box_loss") == [1, 2, 3]
    assert numbered(job, "val/box_loss") == [1, 2, 3]
    assert numbered(job, "lr/pg0") == [1, 2, 3]


@NIGHTLY
@pytest.mark.parametrize("version", ["8.3.0", "8.4.139"])
def test_each_epoch_is_logged_once_in_older_releases(run_job: RunJob, releases: Releases, version: str) -> None:
    # They have no event for an exception: the row of an epoch that was saved comes with the next session.
    job = run_job(SCENARIO, "interrupt_each_event", PYTHONPATH=releases.path(releases.ultralytics(version)))

    assert numbered(job, "train/box_loss") == [1, 2, 3, 4]
    assert numbered(job, "val/box_loss") == [1, 2, 3, 4]
    batches = [row["batch"] for row in rows_of(job) if "batch" in row]
    assert batches == sorted(set(batches))


@NIGHTLY
def test_each_epoch_is_logged_once_in_the_run_of_each_rank(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "resume_the_run_of_each_rank")

    for rank in (0, 1):
        history = [row for run in job.runs if run.id.endswith(f"-rank-{rank}") for row in run.history]
        assert [row["epoch"] for row in history if "train/box_loss" in row] == [1, 2, 3]
        batches = [row["batch"] for row in history if "batch" in row]
        assert batches == sorted(set(batches))


def check_changed(job: Job) -> None:
    facts = json.loads((job.directory / "facts.json").read_text())
    assert facts["batch"] == 4
    assert {name: job.run.config[name] for name in facts} == facts
    batches = [row["batch"] for row in job.run.rows("batch")]
    assert batches == list(range(1, len(batches) + 1))


@NIGHTLY
def test_config_shows_the_values_that_the_training_has_changed(run_job: RunJob) -> None:
    check_changed(run_job(SCENARIO, "run_out_of_memory"))


@NIGHTLY
def test_config_shows_the_values_that_an_older_release_has_changed(run_job: RunJob, releases: Releases) -> None:
    check_changed(run_job(SCENARIO, "run_out_of_memory", PYTHONPATH=releases.path(releases.ultralytics("8.4.60"))))


def check_apart(job: Job) -> None:
    first, second = job.run.rows("train/box_loss")
    (warning,) = (line for line in job.output.splitlines() if "holds 1 epoch of an earlier training" in line)
    assert "leave run= out" in warning
    summary = json.loads((job.directory / "summary.json").read_text())
    assert summary == pytest.approx({key: second[key] for key in summary})
    assert first["epoch"] == second["epoch"] == 1


@NIGHTLY
def test_each_dataset_of_a_list_trains_into_the_one_run_with_a_warning_before_the_first(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "train_in_turn_in_one_run", "users", "datasets", "1")

    check_apart(job)
    assert job.output.index("data= names 2 datasets, and run") < job.output.index(" 1/1 ")


@NIGHTLY
@pytest.mark.parametrize("whose", ["users", "managers"])
@pytest.mark.parametrize("training", ["datasets", "twice"])
@pytest.mark.parametrize("processes", ["1", "2"])
def test_trainings_in_turn_are_doubted(run_job: RunJob, whose: str, training: str, processes: str) -> None:
    check_apart(run_job(SCENARIO, "train_in_turn_in_one_run", whose, training, processes))


@NIGHTLY
def test_each_dataset_of_a_list_has_a_run_of_its_own_where_none_was_given(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "train_on_two_datasets")

    assert len({run.id for run in job.runs}) == 2
    assert "one axis" not in job.output
