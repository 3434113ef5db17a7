"""Log every Ultralytics training of this process: ``autolog(project="demo")``."""

from __future__ import annotations

import functools
import inspect
import os
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.callback import WandbCallback, insert_callback
from ultralytics_wb_ddp.config.options import RunOptions
from ultralytics_wb_ddp.config.validation import ConfigurationError
from ultralytics_wb_ddp.distributed.rendezvous import watch_rendezvous
from ultralytics_wb_ddp.distributed.train import refresh_ultralytics_rank_constants
from ultralytics_wb_ddp.instrumentation.environment import (
    AUTOLOG_VARIABLE,
    autolog_variables,
    options_from_environment,
)
from ultralytics_wb_ddp.utils.environment import environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from typing_extensions import Unpack

    from ultralytics_wb_ddp.config.options import RunOptionsDict


MARK = "_autologs"  # attribute of the wrapped functions
_active: list[dict[str, Any]] = []  # the options of autolog by name; empty while it is off


class AutologCallback(WandbCallback):
    """The callback of a training whose model has no callback of its own."""

    source = "autolog"

    def on_pretrain_routine_end(self, trainer: Any) -> None:
        """Open the run, unless the trainer has got another callback since it was created."""
        functions = (function for functions in trainer.callbacks.values() for function in functions)
        if all(owner is self for owner in _callbacks_in(functions)):
            super().on_pretrain_routine_end(trainer)

    @classmethod
    def child_options(cls) -> dict[str, Any]:
        """Return the options for processes that train, by name: those of autolog and ``wandb_config``."""
        callback = cls(**_active[0])
        return callback._merge_options(callback._find_handoff())


def autolog(*, disable: bool = False, **options: Unpack[RunOptionsDict]) -> None:
    """Log every Ultralytics training of this process from now on.

    Each model is logged as if :func:`add_wandb_callback` had been called with it and these options: ``YOLO``,
    ``RTDETR`` and the others, also those that exist already, with the workers of their trainings. The trainings that
    ``model.tune()`` starts as processes are logged, too. ``add_wandb_callback`` on a model wins over this function. A
    further call replaces the options.

    Args:
        disable: Log the trainings that begin from now on no more.
        **options: As for :func:`add_wandb_callback`.

    Raises:
        ConfigurationError: An option is unknown or wrong, or the handoff in the environment is damaged.
    """
    if disable and options:
        given = ", ".join(f"{name}={value!r}" for name, value in options.items())
        msg = f"autolog: disable=True with {given}: autolog ends and takes no options; leave one of the two out"
        raise ConfigurationError(msg)
    if disable:
        _active.clear()
        os.environ.pop(AUTOLOG_VARIABLE, None)
        return
    layer = RunOptions.parse_layer(options, AutologCallback.source)
    AutologCallback(**layer).check(None)
    log_trainings(layer)


def autolog_from_environment() -> None:
    """Switch autolog on with the options of ``ultralytics-wb-ddp run``, which has checked them."""
    options = options_from_environment()
    if options is not None and not _active:
        log_trainings(options)


def log_trainings(options: dict[str, Any]) -> None:
    """Switch autolog on with options that have been checked."""
    _install()
    _active[:] = [options]


def _install() -> None:
    """Wrap the functions that begin a training. Each wrapper does nothing while autolog is off."""
    from ultralytics.engine import trainer, tuner
    from ultralytics.utils import tuner as ray_tuner

    _wrap(trainer.BaseTrainer, "__init__", _with_callback)
    _wrap(tuner.Tuner, "__call__", _with_tuning_log)
    _wrap(ray_tuner, "run_ray_tune", _with_ray_tuning_log)
    if hasattr(trainer, "MultiTrainer"):  # it trains on several datasets, since 8.4.90
        _wrap(trainer.MultiTrainer, "train", _with_child_variables)


def _wrap(owner: Any, name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    function = getattr(owner, name)
    if not hasattr(function, MARK):
        wrapper = functools.wraps(function)(wrap(function))
        setattr(wrapper, MARK, True)
        setattr(owner, name, wrapper)


def _with_callback(init: Callable[..., None]) -> Callable[..., None]:
    """Wrap ``BaseTrainer.__init__``: every release passes the trainer's callbacks to it, in launchers and workers."""
    signature = inspect.signature(init)

    def init_with_callback(*args: Any, **kwargs: Any) -> None:
        if _active:
            bound = signature.bind(*args, **kwargs)
            bound.arguments["_callbacks"] = _add_callback(bound.arguments.get("_callbacks"))
            init(*bound.args, **bound.kwargs)
        else:
            init(*args, **kwargs)

    return init_with_callback


def _add_callback(registered: Mapping[str, list[Any]] | None) -> dict[str, list[Any]]:
    """Return a copy of a trainer's callbacks with one that logs, unless there is one."""
    from ultralytics.utils.callbacks import get_default_callbacks

    # Before 8.4.140 they are the model's own, whose later trainings may be without autolog.
    callbacks: dict[str, list[Any]] = defaultdict(
        list, {k: [*v] for k, v in (registered or get_default_callbacks()).items()}
    )
    if not any(_callbacks_in(function for functions in callbacks.values() for function in functions)):
        refresh_ultralytics_rank_constants()
        watch_rendezvous()
        callback = AutologCallback(**_active[0])
        callback.check(None)
        insert_callback(callbacks, callback)
    return callbacks


def _callbacks_in(functions: Iterable[Any]) -> list[WandbCallback]:
    owners = (getattr(function, "__self__", None) for function in functions)
    return [owner for owner in owners if isinstance(owner, WandbCallback)]


def _with_tuning_log(tune: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``Tuner.__call__``, which trains in processes of the ``yolo`` command."""

    def tune_and_log(tuner: Any, *args: Any, **kwargs: Any) -> Any:
        if not _active:
            return tune(tuner, *args, **kwargs)
        from ultralytics_wb_ddp.instrumentation.tuning import log_tuning

        with _trainings_elsewhere() as options, log_tuning(tuner, options):
            return tune(tuner, *args, **kwargs)

    return tune_and_log


def _with_ray_tuning_log(tune: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``run_ray_tune``, which trains in Ray's workers."""
    signature = inspect.signature(tune)

    def tune_and_log(*args: Any, **kwargs: Any) -> Any:
        if not _active:
            return tune(*args, **kwargs)
        from ultralytics_wb_ddp.instrumentation.ray_tuning import log_ray_tuning

        given = signature.bind(*args, **kwargs).arguments
        arguments = {**given, **given.get("train_args", {})}
        with _trainings_elsewhere() as options, log_ray_tuning(arguments, options, log_trainings):
            return tune(*args, **kwargs)

    return tune_and_log


@contextmanager
def _trainings_elsewhere() -> Iterator[dict[str, Any]]:
    """Switch autolog off in a ``with`` block whose trainings are in other processes, with options of their own.

    Yields:
        The options of autolog by name.
    """
    options, previous = AutologCallback.child_options(), [*_active]
    _active.clear()
    try:
        yield options
    finally:
        _active[:] = previous


def _with_child_variables(train: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``MultiTrainer.train``, which trains in processes of the ``yolo`` command if the model has no callback."""

    def train_with_variables(*args: Any, **kwargs: Any) -> Any:
        with environment(autolog_variables(AutologCallback.child_options()) if _active else {}):
            return train(*args, **kwargs)

    return train_with_variables
