"""What the stock callback logs stands under the same keys with the same values; its two faults are not repeated."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ultralytics.models.yolo.classify import ClassificationValidator

from support.jobs import Job, RunJob
from ultralytics_wb_ddp.metrics import evaluation_charts
from ultralytics_wb_ddp.wandb_client.run_file import RecordedRun

MEASURED = {"model/speed_PyTorch(ms)", "_step"}  # differs between any two trainings; the client's own
OURS_ONLY = {"per_class_metrics", "mistakes"}


@pytest.fixture(scope="module")
def stock(run_job: RunJob) -> Job:
    return run_job("""\
        from ultralytics import settings
        settings.update(wandb=True)
        model.train(**{**TWO_PROCESSES, "plots": True})
    """)


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


CURVES_OF_MANY_CLASSES = """\
import os, sys
from types import SimpleNamespace
import numpy as np, wandb
from ultralytics.utils.metrics import DetMetrics
from ultralytics_wb_ddp.metrics import evaluation_charts

classes, labelled = int(sys.argv[1]), int(sys.argv[2])
rng = np.random.default_rng(0)
metrics = DetMetrics()
metrics.names = {index: f"class {index}" for index in range(classes)}
target = np.concatenate([np.arange(labelled), rng.integers(0, labelled, 5 * labelled)])
guess = np.where(rng.random(len(target)) < 0.8, target, rng.integers(0, labelled, len(target)))
right = (guess == target)[:, None] & (rng.random((len(target), 10)) < np.linspace(0.9, 0.3, 10))
metrics.box.nc = classes
from ultralytics.utils.metrics import ap_per_class
metrics.box.update(ap_per_class(right, rng.random(len(target)), guess, target, names=metrics.names)[2:])

run = wandb.init(project="curves")
run.log({**evaluation_charts.curve_charts(metrics), "per_class_metrics": evaluation_charts.class_table(SimpleNamespace(metrics=metrics))})
if "stock" in sys.argv:
    from ultralytics.utils.callbacks import wb
    for title, (x, y, x_title, y_title) in zip(metrics.curves, metrics.curves_results):
        wb._plot_curve(x, y, list(metrics.names.values()), f"stock/{title}", title, x_title, y_title)
run.log({})
run.finish()
"""


@pytest.fixture(scope="module")
def curves(run_job: RunJob) -> Any:
    def draw(classes: int, labelled: int, *, stock: bool = False) -> RecordedRun:
        argv = ["job", str(classes), str(labelled), *(["stock"] if stock else [])]
        return run_job(CURVES_OF_MANY_CLASSES, prelude=f"import sys; sys.argv = {argv}\n").run

    return draw


def test_curves_of_99_classes_are_the_stock_callbacks(curves: Any) -> None:
    run = curves(99, 99, stock=True)

    for title in ("Precision-Recall(B)", "F1-Confidence(B)", "Precision-Confidence(B)", "Recall-Confidence(B)"):
        assert len(table(run, f"curves/{title}_table")) == 10_000
        assert table(run, f"curves/{title}_table") == table(run, f"stock/{title}_table")
        assert run.charts[f"curves/{title}"] == run.charts[f"stock/{title}"]


def test_curves_of_many_classes_show_the_mean_and_the_extremes_and_say_so(curves: Any) -> None:
    run = curves(365, 365)
    rows = table(run, "curves/F1-Confidence(B)_table")
    quality = {row[0]: row[8] for row in table(run, "per_class_metrics")}
    by_quality = sorted(quality, key=lambda name: quality[name])
    shown = list(dict.fromkeys(row[0] for row in rows))

    assert len(rows) == 10_000
    assert shown[0] == "mean"
    assert max(quality[name] for name in shown[1:51] if name in by_quality[:60]) < quality[by_quality[182]]
    assert by_quality[0] in shown
    assert by_quality[-1] in shown
    title = run.charts["curves/F1-Confidence(B)"]["title"]
    assert title == "F1-Confidence(B) (mean and 99 of 365 classes: lowest 50 and highest 49 by mAP50-95)"


def test_table_of_classes_has_a_row_for_each_class(curves: Any) -> None:
    run = curves(365, 300)
    rows = table(run, "per_class_metrics")
    shown = {row[0] for row in table(run, "curves/F1-Confidence(B)_table")} - {"mean"}

    assert [row[0] for row in rows] == [f"class {index}" for index in range(365)]
    assert all(isinstance(value, float) for row in rows[:300] for value in row[3:9])
    assert all(value is None for row in rows[300:] for value in row[3:9])
    assert {row[0] for row in rows if row[9]} == shown


def test_curves_name_the_right_classes_when_one_has_no_instances(run_job: RunJob) -> None:
    script = CURVES_OF_MANY_CLASSES.replace("target = np.conc", "target = 1 + np.conc")  # class 0 is never there
    run = run_job(script, prelude="import sys; sys.argv = ['job', '4', '3']\n").run

    names = {row[0] for row in table(run, "curves/F1-Confidence(B)_table")}
    assert names == {"mean", "class 1", "class 2", "class 3"}


def test_table_of_classes_of_a_classification_has_what_there_is(tmp_path: Path) -> None:
    validator = ClassificationValidator(save_dir=tmp_path, args={"task": "classify", "plots": False})
    validator.init_metrics(SimpleNamespace(names={0: "cat", 1: "dog", 2: "fox", 3: "owl"}))
    validator.targets = [torch.tensor([0, 0, 0, 1, 2])]
    validator.pred = [torch.tensor([[0], [0], [1], [1], [0]])]  # the surest class of each image
    validator.finalize_metrics()

    table = evaluation_charts.class_table(validator)

    assert table.columns == ["Class", "Instances", "P", "R", "F1"]
    assert table.data == [
        ["cat", 3, 0.66667, 0.66667, 0.66667],
        ["dog", 1, 0.5, 1.0, 0.66667],
        ["fox", 1, None, 0.0, 0.0],
        ["owl", 0, None, None, None],
    ]
