"""The rows and the arguments that a training's events lead to, with a trainer and a run that only keep values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from ultralytics_wb_ddp.config.options import RunOptions
from ultralytics_wb_ddp.metrics.trainer_rows import SPEED
from ultralytics_wb_ddp.runs.guarded_run import GuardedRun
from ultralytics_wb_ddp.training.rank_coordinator import RankCoordinator
from ultralytics_wb_ddp.training.training_logger import TrainingLogger, effective_arguments


class KeptRows:
    """The part of a guarded run that an epoch uses; it keeps the rows."""

    origin = "new"
    is_resumed = False

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.best: list[bool] = []
        self.record = SimpleNamespace(batches=None, epoch=None)
        self.is_epoch_being_saved = False

    @contextmanager
    def guard(self, _: str) -> Iterator[bool]:
        yield True

    def log(self, row: Mapping[str, Any], *, is_best: bool) -> None:
        self.rows.append(dict(row))
        self.best.append(is_best)

    def log_in_background(self, make_row: Callable[[], Mapping[str, Any]], _: str) -> None:
        self.rows.append(dict(make_row()))

    def update_config(self, _: Mapping[str, Any]) -> None:
        pass

    def poll_stop_button(self) -> None:
        pass

    def stop_requested(self) -> bool:
        return False


def label(losses: Any, prefix: str) -> dict[str, float]:
    """Name the loss as a trainer does."""
    return {f"{prefix}/loss": float(losses[0])}


@pytest.fixture
def trainer(tmp_path: Path) -> SimpleNamespace:
    return SimpleNamespace(
        args=SimpleNamespace(resume=False, val=True),
        epoch=0,
        metrics={"val/loss": 9.0},  # zeros of Ultralytics', before the first validation
        fitness=None,
        best_fitness=None,
        last=tmp_path / "last.pt",
        tloss=torch.tensor([0.5]),
        loss_items=torch.tensor([0.5]),
        lr={"lr/pg0": 0.1},
        optimizer=SimpleNamespace(param_groups=[{"lr": 0.1}]),
        train_loader=[None] * 5,
        label_loss_items=label,
        plots={},
        validator=SimpleNamespace(plots={}, speed={"inference": 2.5}),
    )


def logger_of(trainer: SimpleNamespace, **options: Any) -> tuple[TrainingLogger, KeptRows]:
    run, chosen = KeptRows(), RunOptions(mistakes=0, **options)
    model: Future[dict[str, Any]] = Future()
    model.set_result({"model/parameters": 5, SPEED: 0.0})
    ranks = RankCoordinator(chosen, None)
    return TrainingLogger(trainer, ranks, chosen, run=cast("GuardedRun", run), model_row=model), run


def train_epoch(logger: TrainingLogger, epoch: int, *, validated: bool) -> None:
    """Fire the events of an epoch, counted from 1; its validation replaces the metrics."""
    trainer = logger.trainer
    trainer.epoch = epoch - 1
    logger.on_train_epoch_start()
    logger.on_train_epoch_end()
    if validated:
        trainer.metrics = {"val/loss": float(epoch)}
        trainer.fitness = trainer.best_fitness = float(epoch)
    logger.on_fit_epoch_end()


def test_metrics_are_in_the_rows_of_validated_epochs_only(trainer: SimpleNamespace) -> None:
    logger, run = logger_of(trainer)
    for epoch in range(1, 5):
        train_epoch(logger, epoch, validated=epoch in {2, 4})

    assert [row["epoch"] for row in run.rows if "train/loss" in row] == [1, 2, 3, 4]
    assert [(row["epoch"], row["val/loss"]) for row in run.rows if "val/loss" in row] == [(2, 2.0), (4, 4.0)]
    assert run.best == [False, True, False, True]


def test_model_is_described_in_the_first_epoch_and_its_speed_with_the_first_validation(
    trainer: SimpleNamespace,
) -> None:
    logger, run = logger_of(trainer)
    for epoch in range(1, 4):
        train_epoch(logger, epoch, validated=epoch != 1)

    assert [row["epoch"] for row in run.rows if "model/parameters" in row] == [1]
    assert [(row["epoch"], row[SPEED]) for row in run.rows if SPEED in row] == [(2, 2.5)]


def test_every_nth_batch_is_a_row_and_batches_are_counted_over_all_epochs(trainer: SimpleNamespace) -> None:
    logger, run = logger_of(trainer, batch_interval=2)
    for epoch in (0, 1):
        trainer.epoch = epoch
        logger.on_train_epoch_start()
        for _ in range(5):
            logger.on_train_batch_end()

    assert [row["batch"] for row in run.rows] == [2, 4, 6, 8, 10]
    assert run.record.batches == 10


def test_batches_are_no_rows_unless_they_are_asked_for(trainer: SimpleNamespace) -> None:
    logger, run = logger_of(trainer)
    logger.on_train_epoch_start()
    logger.on_train_batch_end()

    assert run.rows == []


def test_arguments_are_those_that_the_trainer_goes_by() -> None:
    args = SimpleNamespace(epochs=3, batch=-1, optimizer="auto", lr0=0.01, val=True)
    groups = [{"initial_lr": 0.002}, {"initial_lr": 0.006}]
    adam = type("AdamW", (), {"param_groups": groups})()

    starting = effective_arguments(SimpleNamespace(args=args))
    training = effective_arguments(SimpleNamespace(args=args, epochs=5, batch_size=16, optimizer=adam))

    assert starting == vars(args)
    assert training == {"epochs": 5, "batch": 16, "optimizer": "AdamW", "lr0": 0.002, "val": True}
