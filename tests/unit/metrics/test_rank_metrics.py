"""The numbers that each rank measures of itself, and the row of all ranks."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from ultralytics_wb_ddp.metrics import rank_metrics
from ultralytics_wb_ddp.metrics.rank_metrics import RankTimer, ranks_row


def test_row_holds_each_rank_and_how_far_they_are_apart() -> None:
    assert ranks_row({0: {"loss": 1.0, "data_wait": 0.5}, 2: {"loss": 4.0}}) == {
        "ranks/0/loss": 1.0,
        "ranks/0/data_wait": 0.5,
        "ranks/2/loss": 4.0,
        "ranks/spread/loss": 3.0,
        "ranks/spread/data_wait": 0.0,
    }


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that the test sets."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(rank_metrics, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


def train_epoch(timer: RankTimer, clock: SimpleNamespace, *, waits: list[float], batch: float) -> None:
    timer.on_train_epoch_start()
    for wait in waits:
        clock.now += wait
        timer.on_train_batch_start()
        clock.now += batch
        timer.on_train_batch_end()
    timer.on_train_epoch_end()


def trainer(loss: object) -> SimpleNamespace:
    loader = SimpleNamespace(sampler=range(12))
    return SimpleNamespace(train_loader=loader, tloss=loss, device=torch.device("cpu"))


def test_timer_tells_the_wait_for_data_from_training_and_validation(clock: SimpleNamespace) -> None:
    timer = RankTimer()
    train_epoch(timer, clock, waits=[3.0, 1.0], batch=1.0)
    timer.on_val_start()
    clock.now += 5.0
    timer.on_val_end()
    clock.now += 7.0  # to save the checkpoint is no validation

    assert timer.report(trainer(torch.tensor([1.0, 0.5]))) == {
        "images_per_second": 2.0,
        "data_wait": 4.0,
        "validation": 5.0,
        "loss": 1.5,
    }


def test_report_ends_the_validation_of_a_rank_on_which_ultralytics_does_not(clock: SimpleNamespace) -> None:
    timer = RankTimer()
    train_epoch(timer, clock, waits=[1.0], batch=1.0)
    timer.on_val_start()
    clock.now += 5.0

    assert timer.report(trainer(torch.tensor(1.0)))["validation"] == 5.0


def test_each_epoch_has_its_own_times(clock: SimpleNamespace) -> None:
    timer = RankTimer()
    train_epoch(timer, clock, waits=[3.0], batch=1.0)
    timer.on_val_start()
    clock.now += 5.0
    timer.on_val_end()
    train_epoch(timer, clock, waits=[2.0], batch=1.0)

    assert timer.report(trainer({"box": torch.tensor([1.0]), "cls": torch.tensor(2.0)})) == {
        "images_per_second": 4.0,
        "data_wait": 2.0,
        "validation": 0.0,
        "loss": 3.0,
    }
