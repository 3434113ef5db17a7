"""Rows of batches and of the model, from a trainer's values."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ultralytics_wb_ddp.metrics.trainer_rows import SPEED, batch_row, described_row, speed_row, train_row

NAMES = ("box_loss", "cls_loss")


def label(losses: Any, prefix: str) -> dict[str, float]:
    """Name losses as a trainer does."""
    values = losses.values() if isinstance(losses, dict) else losses
    return {f"{prefix}/{name}": round(float(value), 5) for name, value in zip(NAMES, values)}


@pytest.mark.parametrize(
    "losses",
    [torch.tensor([0.5, 0.25]), {"box_loss": torch.tensor(0.5), "cls_loss": torch.tensor(0.25)}],
    ids=["tensor", "by-name"],
)
def test_row_of_a_batch_has_its_losses_rates_and_number(losses: Any) -> None:
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.1}, {"lr": 0.2}])
    trainer = SimpleNamespace(loss_items=losses, optimizer=optimizer, label_loss_items=label)

    build_row = batch_row(trainer, 7)
    optimizer.param_groups[0]["lr"], trainer.loss_items = 9.0, None  # the next batch

    rates = {"batch/lr/pg0": 0.1, "batch/lr/pg1": 0.2}
    assert build_row() == {"batch/box_loss": 0.5, "batch/cls_loss": 0.25, **rates, "batch": 7}


def test_row_of_an_epoch_has_losses_and_rates() -> None:
    trainer = SimpleNamespace(tloss=torch.tensor([0.5, 0.25]), lr={"lr/pg0": 0.1}, label_loss_items=label)

    assert train_row(trainer) == {"train/box_loss": 0.5, "train/cls_loss": 0.25, "lr/pg0": 0.1}


def test_model_has_no_speed_before_it_was_measured() -> None:
    profile: Future[dict[str, Any]] = Future()
    profile.set_result({"model/parameters": 5, SPEED: 0.0})
    trainer = SimpleNamespace(validator=SimpleNamespace(speed={"inference": 1.23456}))

    assert described_row(trainer, profile, is_measured=False) == {"model/parameters": 5}
    assert described_row(trainer, profile, is_measured=True) == {"model/parameters": 5, SPEED: 1.235}
    assert speed_row(trainer) == {SPEED: 1.235}
