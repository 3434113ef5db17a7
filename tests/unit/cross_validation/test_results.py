"""The statistics of a group: the metrics that count, and their numbers."""

from __future__ import annotations

import math

from ultralytics_wb_ddp import Statistics
from ultralytics_wb_ddp.cross_validation.results import select_metrics


def test_statistics_of_one_training_have_no_deviation() -> None:
    assert Statistics.of([0.5]) == Statistics(1, 0.5, None, 0.5, 0.5)
    assert str(Statistics.of([0.5])) == "0.5"


def test_numbers_of_a_summary_that_are_metrics() -> None:
    summary = {
        "metrics/mAP50(B)": {"max": 0.9},
        "final/metrics/mAP50(B)": 0.8,
        "metrics/recall(B)": 0.7,
        "metrics/nan": math.nan,
        "mine": 1,
        "metrics/flag": True,
        "train/box_loss": 1.0,
    }

    assert select_metrics(summary, ("metrics/*", "mine")) == {
        "metrics/recall(B)": 0.7,
        "mine": 1.0,
        "metrics/mAP50(B)": 0.8,
    }
