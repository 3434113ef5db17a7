"""Checkpoints and imported rows hold metrics only where they were measured."""

from __future__ import annotations

from types import SimpleNamespace

from ultralytics_wb_ddp.artifacts.checkpoint_metadata import Measurement, checkpoint_metadata
from ultralytics_wb_ddp.artifacts.results_csv import without_placeholders


def test_checkpoint_of_an_epoch_that_was_not_validated_has_no_fitness() -> None:
    trainer = SimpleNamespace(args=SimpleNamespace(epochs=3), fitness=0.5, metrics={"val/box_loss": 0.0})

    facts = checkpoint_metadata(trainer, 2, Measurement())

    assert facts == {"epoch": 2, "fitness": None, "metrics": {}, "train_args": {"epochs": 3}}


def test_imported_rows_hold_measured_metrics_only() -> None:
    zeros = {"train/loss": 1.0, "metrics/mAP50(B)": 0.0, "val/loss": 0.0}
    poor, good = {**zeros, "val/loss": 2.0}, {**zeros, "metrics/mAP50(B)": 0.5, "val/loss": 1.0}
    unmeasured = {"train/loss": 1.0}

    seldom = without_placeholders([zeros, zeros, poor, poor, good], are_validated=False)
    always = without_placeholders([poor, poor, {"train/loss": 1.0, "metrics/mAP50(B)": 0.0}], are_validated=True)

    assert seldom == (unmeasured, unmeasured, poor, unmeasured, good)
    assert always == (poor, poor, {"train/loss": 1.0, "metrics/mAP50(B)": 0.0})
