"""The W&B callback that comes with Ultralytics: switched off in a training, and the run that it would have made."""

from __future__ import annotations

import os
import re
from typing import Any

from ultralytics_wb_ddp.config import MAX_LENGTH, RESERVED_IN_PROJECT, RunOptions

__all__ = ["stock_options", "switch_off_stock_callback"]

STOCK_MODULE = "ultralytics.utils.callbacks.wb"


def switch_off_stock_callback(trainer: Any) -> None:
    """Take the stock W&B callback out of a trainer, whatever ``SETTINGS["wandb"]`` says.

    It is recognised by the module that its functions come from, so that the functions it adds while it runs are
    found as well. Settings and other trainings stay as they are.

    Args:
        trainer: An Ultralytics trainer, after its integration callbacks were added.
    """
    for functions in trainer.callbacks.values():
        # In place: the trainer may be walking through this very list, in which the stock callback stands behind ours.
        functions[:] = [function for function in functions if getattr(function, "__module__", "") != STOCK_MODULE]


def stock_options(trainer: Any) -> RunOptions:
    """Return how the stock callback would make a run, where the environment does not say otherwise."""
    named = str(trainer.args.project or "Ultralytics")
    return RunOptions(
        project=os.environ.get("WANDB_PROJECT")
        or re.sub(f"[{re.escape(RESERVED_IN_PROJECT)}]", "-", named)[-MAX_LENGTH:],
        name=os.environ.get("WANDB_NAME") or str(trainer.args.name),
        dir=os.environ.get("WANDB_DIR") or str(trainer.save_dir),
    )
