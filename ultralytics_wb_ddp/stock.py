"""Finds the W&B callback that comes with Ultralytics in a trainer and switches it off for that training."""

from __future__ import annotations

from typing import Any

__all__ = ["switch_off_stock_callback"]

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
