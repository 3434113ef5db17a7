"""Curve charts and the table of classes, from metrics of few and of many classes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from ultralytics.models.yolo.classify import ClassificationValidator

from support.curves import detection_metrics
from ultralytics_wb_ddp.metrics import evaluation_charts


def class_rows(metrics: Any) -> list[list[Any]]:
    table = evaluation_charts.class_table(SimpleNamespace(metrics=metrics))
    return [list(row) for row in table.data]


def test_curves_of_many_classes_show_the_mean_and_the_extremes_and_say_so() -> None:
    metrics = detection_metrics(365, range(365))
    chart = evaluation_charts.curve_charts(metrics)["curves/F1-Confidence(B)"]
    quality = {row[0]: row[8] for row in class_rows(metrics)}
    by_quality = sorted(quality, key=lambda name: quality[name])
    shown = list(dict.fromkeys(row[0] for row in chart.table.data))

    assert len(chart.table.data) == 10_000
    assert shown[0] == "mean"
    assert max(quality[name] for name in shown[1:51] if name in by_quality[:60]) < quality[by_quality[182]]
    assert by_quality[0] in shown
    assert by_quality[-1] in shown
    title = chart.spec.string_fields["title"]
    assert title == "F1-Confidence(B) (mean and 99 of 365 classes: lowest 50 and highest 49 by mAP50-95)"


def test_table_of_classes_has_a_row_for_each_class() -> None:
    metrics = detection_metrics(365, range(300))
    rows = class_rows(metrics)
    chart = evaluation_charts.curve_charts(metrics)["curves/F1-Confidence(B)"]
    shown = {row[0] for row in chart.table.data} - {"mean"}

    assert [row[0] for row in rows] == [f"class {index}" for index in range(365)]
    assert all(isinstance(value, float) for row in rows[:300] for value in row[3:9])
    assert all(value is None for row in rows[300:] for value in row[3:9])
    assert {row[0] for row in rows if row[9]} == shown


def test_curves_name_the_right_classes_when_one_has_no_instances() -> None:
    charts = evaluation_charts.curve_charts(detection_metrics(4, range(1, 4)))

    names = {row[0] for row in charts["curves/F1-Confidence(B)"].table.data}
    assert names == {"mean", "class 1", "class 2", "class 3"}


def test_table_of_classes_of_a_classification_has_its_own_columns(tmp_path: Path) -> None:
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
