"""Log the epochs that only ``results.csv`` holds, because a training was interrupted."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ultralytics_wb_ddp.artifacts.checkpoint_metadata import Progress
from ultralytics_wb_ddp.artifacts.results_csv import epoch_with_metrics, read_results, without_placeholders

if TYPE_CHECKING:
    from collections.abc import Sequence
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
    run: GuardedRun, rows: Sequence[dict[str, float]], best: Path, *, until: float = math.inf
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
    best_epoch = best_checkpoint_epoch(best, rows) if missed else None
    for row in missed:
        epoch, is_measured = int(row["epoch"]), any(name.startswith("val/") for name in row)
        run.log({**row, "epoch": epoch}, is_best=is_measured and epoch == best_epoch)


def best_checkpoint_epoch(checkpoint: Path, rows: Sequence[dict[str, float]]) -> int | None:
    """Return the epoch of the best checkpoint, counted from 1; None if unknown.

    At the end of the training Ultralytics removes the epoch from the checkpoint. Then the checkpoint's metrics are
    compared with those of the epochs.
    """
    progress = Progress.read(checkpoint)
    if progress is None:
        return None
    return progress.epoch + 1 if progress.epoch >= 0 else epoch_with_metrics(rows, progress.metrics)
