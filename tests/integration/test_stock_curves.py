"""Curves and tables of classes as a run stores them: those of the stock callback, while W&B shows all classes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb
from ultralytics.utils.callbacks import wb

from support.curves import detection_metrics
from ultralytics_wb_ddp.metrics import evaluation_charts
from ultralytics_wb_ddp.wandb_client.run_file import RecordedRun, find_run_files, read_run

TITLES = ("Precision-Recall(B)", "F1-Confidence(B)", "Precision-Confidence(B)", "Recall-Confidence(B)")


@pytest.fixture
def run(no_s3: None, tmp_path: Path) -> Iterator[Any]:  # noqa: ARG001
    wandb.teardown()
    with wandb.init(project="curves", mode="offline", dir=str(tmp_path)) as run:
        yield run


def recorded(run: Any, folder: Path) -> RecordedRun:
    run.finish()
    wandb.teardown()  # finish() does not wait for the file to be written
    (file,) = find_run_files(folder)
    return read_run(file)


def table(run: RecordedRun, key: str) -> list[list[Any]]:
    (value,) = (row[key] for row in run.rows(key))
    rows: list[list[Any]] = json.loads((run.path.parent / "files" / value["path"]).read_text())["data"]
    return rows


def test_curves_of_99_classes_are_the_stock_callbacks(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = detection_metrics(99, range(99))
    monkeypatch.setattr(wb, "wb", wandb, raising=False)  # as it is where Ultralytics' settings want W&B
    run.log(evaluation_charts.curve_charts(metrics))
    for title, (x, y, x_title, y_title) in zip(metrics.curves, metrics.curves_results):
        wb._plot_curve(x, y, list(metrics.names.values()), f"stock/{title}", title, x_title, y_title)  # noqa: SLF001
    run.log({})
    stored = recorded(run, tmp_path)

    for title in TITLES:
        assert len(table(stored, f"curves/{title}_table")) == 10_000
        assert table(stored, f"curves/{title}_table") == table(stored, f"stock/{title}_table")
        assert stored.charts[f"curves/{title}"] == stored.charts[f"stock/{title}"]


def test_curves_and_classes_are_stored_as_they_were_made(run: Any, tmp_path: Path) -> None:
    metrics = detection_metrics(365, range(300))
    charts = evaluation_charts.curve_charts(metrics)
    classes = evaluation_charts.class_table(SimpleNamespace(metrics=metrics))
    run.log({**charts, "per_class_metrics": classes})
    stored = recorded(run, tmp_path)

    for key, chart in charts.items():
        assert table(stored, f"{key}_table") == [list(row) for row in chart.table.data]
        assert stored.charts[key]["title"] == chart.spec.string_fields["title"]
    assert table(stored, "per_class_metrics") == [list(row) for row in classes.data]
