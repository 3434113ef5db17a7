"""The epochs that only results.csv has."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ultralytics_wb_ddp.artifacts.missed_epochs import log_missed_epochs, read_epochs
from ultralytics_wb_ddp.runs.run_record import RunRecord

ROWS = tuple({"epoch": epoch, "train/box_loss": 4.0 - epoch, "val/box_loss": 1.0} for epoch in (1, 2, 3))


class Run:
    """The part of a guarded run that missed epochs need: it notes the rows."""

    def __init__(self, logged: int | None) -> None:
        self.record = RunRecord("abc", epoch=logged)
        self.rows: list[tuple[dict[str, Any], bool]] = []

    def log(self, row: dict[str, Any], *, is_best: bool) -> None:
        self.rows.append((row, is_best))


@pytest.mark.parametrize(
    ("logged", "until", "epochs"),
    [(1, math.inf, [2, 3]), (0, math.inf, [1, 2, 3]), (1, 2, [2]), (3, math.inf, []), (None, math.inf, [])],
)
def test_epochs_after_the_last_logged_one_are_logged(
    tmp_path: Path, logged: int | None, until: float, epochs: list[int]
) -> None:
    run = Run(logged)

    log_missed_epochs(run, ROWS, tmp_path / "best.pt", until=until)  # type: ignore[arg-type]

    assert [row["epoch"] for row, _ in run.rows] == epochs
    assert not [row for row, is_best in run.rows if is_best]


def test_epoch_of_the_best_checkpoint_is_the_best_one(tmp_path: Path) -> None:
    torch.save({"epoch": 1, "optimizer": {}, "train_args": SimpleNamespace()}, tmp_path / "best.pt")
    run = Run(0)

    log_missed_epochs(run, ROWS, tmp_path / "best.pt")  # type: ignore[arg-type]

    assert [is_best for _, is_best in run.rows] == [False, True, False]


@pytest.mark.parametrize(("metrics", "bests"), [({"val/box_loss": 0.50001, "fitness": 0.1}, [2]), ({}, []), (None, [])])
def test_epoch_of_a_stripped_checkpoint_is_that_of_its_metrics(
    tmp_path: Path, metrics: dict[str, float] | None, bests: list[int]
) -> None:
    rows = tuple({**row, "val/box_loss": 1 / row["epoch"]} for row in ROWS)
    torch.save({"epoch": -1, "optimizer": None, "train_metrics": metrics}, tmp_path / "best.pt")
    run = Run(0)

    log_missed_epochs(run, rows, tmp_path / "best.pt")  # type: ignore[arg-type]

    assert [row["epoch"] for row, is_best in run.rows if is_best] == bests


def test_epochs_that_were_not_validated_have_no_validation(tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text("epoch,train/box_loss,val/box_loss\n1,3.0,0\n2,2.0,1.5\n")

    assert read_epochs(tmp_path / "results.csv", are_validated=False) == (
        {"epoch": 1, "train/box_loss": 3.0},
        {"epoch": 2, "train/box_loss": 2.0, "val/box_loss": 1.5},
    )
