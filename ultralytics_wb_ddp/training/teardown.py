"""Has the run of a training that fails closed at once: before 8.4.177 Ultralytics tells no callback of an exception."""

from __future__ import annotations

import functools
from typing import Any

from ultralytics_wb_ddp.utils.versions import version_of

MIN_VERSION_TEARDOWN = (8, 4, 177)  # from here on Ultralytics calls teardown after an exception, too
PACKAGE = __name__.partition(".")[0]
MARK = "_tears_down"  # of the method that is wrapped already


def tear_down_after_exceptions() -> None:
    """Have an exception that ends a training of this process reach this package's ``teardown``.

    The method that trains is wrapped in this process, no installed file is touched. Callbacks of others are left to the
    release, which does not call them.
    """
    import ultralytics
    from ultralytics.engine.trainer import BaseTrainer

    train = BaseTrainer.train
    if version_of(ultralytics.__version__) >= MIN_VERSION_TEARDOWN or hasattr(train, MARK):
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
    """Return whether a function is a method of this package's, or of a class that is made from one of it."""
    owner = type(getattr(function, "__self__", None))
    return any(kind.__module__.partition(".")[0] == PACKAGE for kind in owner.__mro__)
