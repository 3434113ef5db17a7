"""Log the epochs that only ``results.csv`` holds, because a training was interrupted."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ultralytics_wb_ddp.artifacts.checkpoint_metadata import Progress
from ultralytics_wb_ddp.artifacts.results_csv import read_results, without_placeholders

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ultralytics_wb_ddp.runs.guarded_run import GuardedRun


def read_epochs(file: Path, *, are_validated: bool) -> tuple[dict[str, float], ...]:
    """Return the rows of a training's ``results.csv`` without placeholders.

    Args:
        file: The ``results.csv``.
        are_validated: Whether Ultralytics validates each epoch.

    Raises:
        ResultsError: The file has no epoch.
        OSError: The file cannot be read.
    """
    return without_placeholders(read_results(file).rows, are_validated=are_validated)


def log_missed_epochs(
    run: GuardedRun, rows: Iterable[dict[str, float]], best: Path, *, until: float = math.inf
) -> None:
    """Log the epochs that follow the last logged one.

    Nothing is logged if the last logged epoch is not known.

    Args:
        run: The run, whose record holds the last logged epoch.
        rows: Rows of :func:`read_epochs`.
        best: The best checkpoint, whose epoch becomes the best one of the run.
        until: Last epoch to log.
    """
    logged = math.inf if run.record.epoch is None else run.record.epoch
    missed = [row for row in rows if logged < row["epoch"] <= until]
    best_epoch = _epoch_in(best) if missed else None
    for row in missed:
        epoch, is_measured = int(row["epoch"]), any(name.startswith("val/") for name in row)
        run.log({**row, "epoch": epoch}, is_best=is_measured and epoch == best_epoch)


def _epoch_in(checkpoint: Path) -> int | None:
    """Return a checkpoint's epoch, counted from 1; None once Ultralytics has removed it at the end of the training."""
    progress = Progress.read(checkpoint)
    return progress.epoch + 1 if progress and progress.epoch >= 0 else None
