"""Switch off Ultralytics' own W&B callback in a training."""

from __future__ import annotations

import functools
from typing import Any

STOCK_MODULE = "ultralytics.utils.callbacks.wb"


def switch_off_stock_callback(trainer: Any, callback: Any) -> None:
    """Remove the stock W&B callback from a trainer.

    ``SETTINGS["wandb"]`` has no effect on this and does not change. Other trainings keep the stock callback: before
    Ultralytics 8.4.140 a trainer shares its functions with the model, and each further trainer adds the stock callback
    again.

    Args:
        trainer: An Ultralytics trainer, after its integration callbacks were added.
        callback: Object whose method the trainer is calling.
    """
    for functions in trainer.callbacks.values():
        # The trainer may be iterating over this very list: it is changed in place, and no function moves to an index
        # that the trainer has passed.
        current = next(
            (index for index, entry in enumerate(functions) if getattr(entry, "__self__", None) is callback), 0
        )
        previous = [_nothing if is_stock(function) else function for function in functions[:current]]
        functions[:] = previous + [function for function in functions[current:] if not is_stock(function)]


def is_stock(function: Any) -> bool:
    """Return whether a function belongs to the stock W&B callback.

    Its module decides. In every release this covers all functions that the stock callback registers, also those that it
    creates during a training.

    Args:
        function: A callback or a ``functools.partial`` of one.
    """
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__module__", None) == STOCK_MODULE


def first_stock(functions: list[Any]) -> int:
    """Return the first stock function's index, or else the list's length."""
    return next((index for index, function in enumerate(functions) if is_stock(function)), len(functions))


def _nothing(_: Any) -> None:
    """Do nothing, in place of a function of the stock callback."""
