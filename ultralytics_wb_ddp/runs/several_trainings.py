"""Warn of several trainings in one run, whose rows share one axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ultralytics_wb_ddp.runs.open_runs import registry
from ultralytics_wb_ddp.runs.run_record import best_values
from ultralytics_wb_ddp.utils.logging import logger, pluralize
from ultralytics_wb_ddp.wandb_client.run_state import get_summary

if TYPE_CHECKING:
    from ultralytics_wb_ddp.runs.guarded_run import GuardedRun


REMEDY = "For a run of each training leave run= out and let no run be open, or make a manager for each"


def warn_of_several_trainings(guarded_run: GuardedRun, *, is_resumed: bool, datasets: int) -> None:
    """Warn of a second training in a run, and reset the best values.

    Args:
        guarded_run: The run, before the training's first row.
        is_resumed: Whether the training is resumed.
        datasets: Number of datasets that the call trains on in sequence, all with this run.
    """
    if guarded_run.origin == "new" or guarded_run.is_resumed:
        return
    with guarded_run.guard("the start of the training"):
        run, record = guarded_run.wandb_run, guarded_run.record
        summary = get_summary(run.summary)
        is_training = any(key.startswith("lr/") for key in summary)  # scripts may log an epoch key of their own
        known = registry.records.get(run.id)
        epochs = summary.get("epoch") if is_training else known and known.epoch
        if epochs and (guarded_run.is_of_another_run or not is_resumed):
            # The summary must drop the best values of these keys.
            record.best, record.previous_best = {}, best_values(summary)
            logger.warning(
                "run %s holds %s of an earlier training already: the rows of both stand on one axis, and "
                "best values and summary are those of this one. %s; 'unset WANDB_RUN_ID' if it is left over",
                run.id,
                pluralize(epochs, "epoch"),
                REMEDY,
            )
        elif datasets > 1:
            logger.warning(
                "data= names %d datasets, and run %s takes the trainings of all of them: their rows stand on one "
                "axis, and best values and summary are those of the last one. %s",
                datasets,
                run.id,
                REMEDY,
            )
