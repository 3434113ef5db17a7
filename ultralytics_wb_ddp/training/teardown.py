"""Close the run of a failed training at once."""

from __future__ import annotations

import functools
from typing import Any

PACKAGE = __name__.partition(".")[0]
MARK = "_tears_down"  # attribute of the wrapped method


def tear_down_after_exceptions() -> None:
    """Call this package's ``teardown`` callbacks when an exception ends a training.

    Before 8.4.177 Ultralytics calls no callback after an exception. Since then a ``teardown`` callback that fails
    keeps later ones from being called. ``BaseTrainer.train`` is wrapped in this process; no installed file changes.
    Callbacks of other packages are not called.
    """
    from ultralytics.engine.trainer import BaseTrainer

    train = BaseTrainer.train
    if hasattr(train, MARK):
        return

    @functools.wraps(train)
    def train_and_tear_down(trainer: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return train(trainer, *args, **kwargs)
        except BaseException:
            for function in trainer.callbacks.get("teardown", ()):
                if _is_ours(function):
                    function(trainer)
            raise

    setattr(train_and_tear_down, MARK, True)
    BaseTrainer.train = train_and_tear_down


def _is_ours(function: Any) -> bool:
    """Return whether this package defines a callback's class or its base."""
    owner = type(getattr(function, "__self__", None))
    return any(kind.__module__.partition(".")[0] == PACKAGE for kind in owner.__mro__)
