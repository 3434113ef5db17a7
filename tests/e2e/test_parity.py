"""Rows, charts and artifacts have the keys and the values of the stock callback's, without its two faults."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.jobs import NIGHTLY, Job, RunJob
from ultralytics_wb_ddp.wandb_client.run_file import RecordedRun

pytestmark = NIGHTLY
MEASURED = {"model/speed_PyTorch(ms)", "_step"}  # differs between any two trainings; the client's own
OURS_ONLY = {"per_class_metrics", "mistakes"}


@pytest.fixture(scope="module")
def stock(run_job: RunJob) -> Job:
    return run_job("training.py", "stock_callback")


def numbers(run: RecordedRun) -> list[dict[str, float]]:
    return [
        {
            key: value
            for key, value in row.items()
            if isinstance(value, (int, float)) and key not in MEASURED | {"epoch"} and not key.startswith("ranks/")
        }
        for row in run.history
    ]


def table(run: RecordedRun, key: str) -> list[list[Any]]:
    (value,) = (row[key] for row in run.rows(key))
    return json.loads((run.path.parent / "files" / value["path"]).read_text())["data"]


def test_rows_hold_the_same_keys(stock: Job, usage_c: Job) -> None:
    ours = [{key for key in row if not key.startswith("ranks/")} - OURS_ONLY for row in usage_c.run.history]
    assert ours == [set(row) for row in stock.run.history]


def test_numbers_are_the_same(stock: Job, usage_c: Job) -> None:
    assert numbers(usage_c.run) == numbers(stock.run)
    assert {"train/box_loss", "lr/pg0", "metrics/mAP50(B)", "val/cls_loss", "model/parameters"} <= set(
        numbers(stock.run)[0]
    )


def test_epochs_are_those_of_the_training_and_never_run_backwards(stock: Job, usage_c: Job) -> None:
    assert [row["epoch"] for row in stock.run.history] == [1, 2, 3, 2]
    assert [row["epoch"] for row in usage_c.run.history] == [1, 2, 2, 2]


def test_epoch_is_the_axis_of_the_same_metrics(stock: Job, usage_c: Job) -> None:
    assert usage_c.run.metrics == {**stock.run.metrics, "ranks/*": "epoch", "batch/*": "batch"}


def test_images_are_the_same(stock: Job, usage_c: Job) -> None:
    def images(run: RecordedRun) -> dict[str, tuple[int, int]]:
        return {
            key: (value["width"], value["height"])
            for row in run.history
            for key, value in row.items()
            if isinstance(value, dict) and value["_type"] == "image-file"
        }

    assert images(usage_c.run) == images(stock.run)
    assert {"labels", "results", "confusion_matrix", "train_batch0", "val_batch0_pred"} <= set(images(stock.run))


def test_curves_are_the_same(stock: Job, usage_c: Job) -> None:
    assert usage_c.run.charts == stock.run.charts
    assert len(stock.run.charts) == 4
    for key in stock.run.charts:
        assert table(usage_c.run, f"{key}_table") == table(stock.run, f"{key}_table")


def test_config_is_the_same(stock: Job, usage_c: Job) -> None:
    places = {"project", "save_dir", "data"}  # each training has its own directory, on a dataset of its own

    def config(run: RecordedRun) -> dict[str, Any]:
        return {key: value for key, value in run.config.items() if key not in places}

    assert config(usage_c.run) == config(stock.run)


def test_best_checkpoint_is_the_same_kind_of_artifact(stock: Job, usage_c: Job) -> None:
    def models(run: RecordedRun) -> list[tuple[str, str, set[str], set[str]]]:
        return [
            (artifact.name.replace(run.id, "ID"), artifact.type, set(artifact.aliases), set(artifact.entries))
            for artifact in run.artifacts
            if artifact.type == "model"
        ]

    assert models(usage_c.run) == models(stock.run)
    assert len(models(stock.run)) == 1
