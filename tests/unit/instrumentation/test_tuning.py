"""The results of a tuning, as the tuner of each era writes them."""

from __future__ import annotations

import json
from pathlib import Path

from ultralytics_wb_ddp.instrumentation.tuning import Iteration, read_iterations

EXPECTED = [Iteration("1", 0.25, {"lr0": 0.01, "box": 7.5}), Iteration("2", 0.0, {"lr0": 0.02, "box": 7.0})]


def test_results_of_early_releases_are_csv(tmp_path: Path) -> None:
    file = tmp_path / "tune_results.csv"
    file.write_text("fitness,lr0,box\n0.25,0.01,7.5\n0.0,0.02,7.0\n", encoding="utf-8")

    assert read_iterations(file) == EXPECTED


def test_results_of_later_releases_are_lines_of_json(tmp_path: Path) -> None:
    records = [{"iteration": 1, "fitness": 0.25, "hyperparameters": {"lr0": 0.01, "box": 7.5}}]
    records += [{"iteration": 2, "fitness": None, "hyperparameters": {"lr0": 0.02, "box": 7.0}}]  # of MongoDB
    file = tmp_path / "tune_results.ndjson"
    file.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")

    assert read_iterations(file) == EXPECTED


def test_tuning_that_begins_has_no_results(tmp_path: Path) -> None:
    assert read_iterations(tmp_path / "tune_results.csv") == []
