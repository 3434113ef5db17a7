"""The W&B callback that comes with Ultralytics: switched off in a training, and the run that it would have made."""

from __future__ import annotations

import functools
from typing import Any

STOCK_MODULE = "ultralytics.utils.callbacks.wb"


def switch_off_stock_callback(trainer: Any, callback: Any) -> None:
    """Take the stock W&B callback out of a trainer, whatever ``SETTINGS["wandb"]`` says.

    Settings and other trainings stay as they are: where a trainer shares its functions with the model, which is so
    before Ultralytics 8.4.140, each further trainer of that model adds the stock callback anew.

    Args:
        trainer: An Ultralytics trainer, after its integration callbacks were added.
        callback: The object whose method is being run by the trainer.
    """
    for functions in trainer.callbacks.values():
        # In place, and nothing moves up to where the trainer has been: it may be walking through this very list.
        place = next((at for at, each in enumerate(functions) if getattr(each, "__self__", None) is callback), 0)
        before = [_nothing if is_stock(function) else function for function in functions[:place]]
        functions[:] = before + [function for function in functions[place:] if not is_stock(function)]


def is_stock(function: Any) -> bool:
    """Return whether a function is of the stock W&B callback, by the module that it was written in.

    In every release that holds for what it registers, also for the functions that it makes while it runs.
    """
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__module__", None) == STOCK_MODULE


def first_stock(functions: list[Any]) -> int:
    """Return the place of the first function of the stock callback; the length of the list where there is none."""
    return next((at for at, function in enumerate(functions) if is_stock(function)), len(functions))


def _nothing(_: Any) -> None:
    """Stand where the stock callback stood."""
