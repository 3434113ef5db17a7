"""A callback that logs an Ultralytics training to one W&B run."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ultralytics_wb_ddp.config.options import RunOptions, merge
from ultralytics_wb_ddp.config.scope import active_scopes, scope_options
from ultralytics_wb_ddp.distributed.processes import Launcher, is_training_process, is_worker
from ultralytics_wb_ddp.distributed.rendezvous import watch_rendezvous
from ultralytics_wb_ddp.distributed.signals import on_termination
from ultralytics_wb_ddp.distributed.stdio import keep_output_writable
from ultralytics_wb_ddp.distributed.topology import is_main_process
from ultralytics_wb_ddp.distributed.train import refresh_ultralytics_rank_constants
from ultralytics_wb_ddp.runs import journal, misuse_warnings, stop_button
from ultralytics_wb_ddp.runs.handoff import Handoff
from ultralytics_wb_ddp.runs.misuse_warnings import run_ids_with_callback
from ultralytics_wb_ddp.runs.open_runs import (
    adopt_user_run,
    check_shared,
    is_ours,
    registry,
    watch_finish,
)
from ultralytics_wb_ddp.runs.preemption import preempt_runs
from ultralytics_wb_ddp.runs.resolution import find_run, handoff_of_open_run, logging_ranks
from ultralytics_wb_ddp.runs.service_process import ServiceProcess
from ultralytics_wb_ddp.training.callback_transport import PortableCallbacks
from ultralytics_wb_ddp.training.rank_coordinator import RankCoordinator
from ultralytics_wb_ddp.training.stock_callback import first_stock, switch_off_stock_callback
from ultralytics_wb_ddp.training.teardown import tear_down_after_exceptions
from ultralytics_wb_ddp.training.training_logger import TrainingLogger, find_previous_record
from ultralytics_wb_ddp.utils.threads import preload
from ultralytics_wb_ddp.wandb_client.internals import flush, is_attached
from ultralytics_wb_ddp.wandb_client.run_state import get_run_dir, is_closed, wandb_run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from typing_extensions import Unpack

    from ultralytics_wb_ddp.config.options import RunOptionsDict


EVENTS = (
    "on_pretrain_routine_start",
    "on_pretrain_routine_end",
    "on_train_epoch_start",
    "on_train_batch_start",
    "on_train_batch_end",
    "on_train_epoch_end",
    "on_val_start",
    "on_val_end",
    "on_fit_epoch_end",
    "on_train_end",
    "teardown",
)


class WandbCallback:
    """A callback that logs an Ultralytics training to one W&B run.

    The training may have any number of processes.

    Unless ``run_mode`` or ``rank_scope`` select more ranks, only the main process logs. The other processes do not
    import wandb. The callback takes the first of these runs:

    1. the run that is given, or active in this process
    2. the run that is open in the launcher
    3. the closed run that the environment names (``WANDB_RUN_ID``, ``WANDB_PROJECT``)
    4. with ``resume=True``, the run of the training's directory
    5. a new run

    A run that the callback opened is finished by the callback. Any other run is left open. The stock W&B callback is
    switched off for the training.

    Args:
        run: Run to log to, as ``wandb.init`` returns it. None takes the active run, if there is one.
        **options: Options of a new run, named as in ``wandb.init`` (``project``, ``name``, ``tags``, ...), options of
            the logging (``checkpoints``, ``mistakes``, ``run_mode``, ...), and ``on_error``. With ``"warn"``, the
            default, an error of W&B is a warning. With ``"raise"`` it ends the training. See
            :class:`~ultralytics_wb_ddp.config.options.RunOptions`.

    Raises:
        TypeError: ``run`` is not a W&B run.
        ConfigurationError: An option is unknown or wrong.
    """

    source = "add_wandb_callback"  # the origin of the options, for messages

    def __init__(self, run: Any = None, **options: Unpack[RunOptionsDict]) -> None:
        if run is not None and not isinstance(run, _wandb_run_type()):
            msg = f"run={run!r} is of type {type(run).__name__}; give what wandb.init() returned, or leave it out"
            raise TypeError(msg)
        self._given = RunOptions.parse_layer(options, self.source)
        self._scopes = active_scopes()
        self._run = run
        remedy = "give them to wandb.init, or to the manager that makes the run"
        self._unused_options = misuse_warnings.GivenOptions(self._given, self.source, remedy)
        if run is not None:
            watch_finish(run)
            if is_closed(run):
                misuse_warnings.warn_of_finished_run(run)
            elif is_main_process():
                _preempt_user_run(run)
        self._handoff: Handoff | None = None
        self._launcher: Launcher | None = None
        self._logger: TrainingLogger | None = None
        self._data: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()  # the data argument of each trainer, by trainer
        self._weights: tuple[str, ...] = ()  # possible weight files of the launcher's model

    @property
    def options(self) -> RunOptions:
        """The options of this callback, ``wandb_config`` and the launcher's run, merged in this order."""
        return RunOptions(**self._merge_options(self._find_handoff()))

    @property
    def callbacks(self) -> Mapping[str, Callable[[Any], None]]:
        """The functions to register by event, like the stock ``wb.callbacks``."""
        return PortableCallbacks({event: getattr(self, event) for event in EVENTS})

    def check(self, run: Any) -> None:
        """Check the options against the run and the ranks.

        All ranks check at the same point. The launcher checks before it starts the workers.

        Args:
            run: The open run of this process that the training will log to, or None.

        Raises:
            ConfigurationError: ``run_mode`` or ``rank_scope`` contradicts the run or the ranks, or the environment is
                damaged.
        """
        ranks = RankCoordinator(self.options, self._find_handoff())
        if ranks.run_mode == "shared" and run is not None and not run.disabled:
            check_shared(run)
        self._unused_options.warn(run, is_made=ranks.run_mode == "auto")

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle, with a handoff instead of the run."""
        from ultralytics_wb_ddp.artifacts.starting_weights import candidate_files_of_calling_model

        handoff = make_worker_handoff(self._run, self._handoff, self.check)
        return {
            "options": self._merge_options(handoff),
            "handoff": handoff,
            "launcher": self._launcher or Launcher.of_this_process(),
            "weights": (*self._weights, *candidate_files_of_calling_model()),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the pickled state. W&B is not used before this process is known to log."""
        self._given = state["options"]
        self._unused_options = misuse_warnings.GivenOptions({}, "", "")  # the launcher has warned
        self._scopes = ()
        self._handoff = state["handoff"]
        self._launcher = state["launcher"]
        self._weights = state["weights"]
        if is_worker():
            watch_rendezvous()
            keep_output_writable()
            tear_down_after_exceptions()
            self.check(None)
            registry.launcher_run = self._find_handoff()
            on_termination(preempt_runs)  # a run may be opened any time from now on
            if is_main_process():
                warm_up_worker(self._find_handoff(), self.options)
        self._run = None
        self._logger = None
        self._data = WeakKeyDictionary()

    def __deepcopy__(self, memo: dict[int, Any]) -> WandbCallback:
        """Return this object, because a copy would share the open run."""
        return self

    # Events, in the order in which Ultralytics fires them

    def on_pretrain_routine_start(self, trainer: Any) -> None:
        """Check the options before Ultralytics loads the dataset, and preload wandb.

        No run is opened yet, because dataset, model or checkpoint may still fail.
        """
        switch_off_stock_callback(trainer, self)
        watch_rendezvous()
        if not (is_training_process(trainer) and is_main_process()):
            return
        self._data[trainer] = trainer.args.data
        find_previous_record(trainer)
        handoff, run = find_run(self._run, self._handoff)
        self.check(run)
        if run is not None and not run.disabled and not is_ours(run):
            watch_finish(run)
            _preempt_user_run(run)
        elif run is None:
            warm_up_worker(handoff, self.options)

    def on_pretrain_routine_end(self, trainer: Any) -> None:
        """Open the run and publish it to the other ranks. The training begins now."""
        switch_off_stock_callback(trainer, self)
        training_logger = self._logger_for(trainer)
        if training_logger is None:
            training_logger = self._logger = TrainingLogger.open(
                trainer,
                self.options,
                self._run,
                self._find_handoff(),
                launcher=self._launcher,
                data=self._data.get(trainer, trainer.args.data),
                weights=self._weights,
            )
        run = training_logger.run
        if run and training_logger.is_main:
            self._unused_options.warn(run.wandb_run, is_made=run.origin in {"adopt", "attach"})
        training_logger.start()

    def on_train_epoch_start(self, trainer: Any) -> None:
        """Begin an epoch."""
        if training_logger := self._logger_for(trainer):
            training_logger.on_train_epoch_start()

    def on_train_batch_start(self, trainer: Any) -> None:
        """Record the start of a batch."""
        if training_logger := self._logger_for(trainer):
            training_logger.on_train_batch_start()

    def on_train_batch_end(self, trainer: Any) -> None:
        """Log the batch, if the options select it."""
        if training_logger := self._logger_for(trainer):
            training_logger.on_train_batch_end()

    def on_train_epoch_end(self, trainer: Any) -> None:
        """Keep losses and learning rates until the epoch ends."""
        if training_logger := self._logger_for(trainer):
            training_logger.on_train_epoch_end()

    def on_val_start(self, validator: Any) -> None:
        """Begin a validation. Ultralytics passes the validator instead of the trainer."""
        if self._logger:
            self._logger.on_val_start(validator)

    def on_val_end(self, validator: Any) -> None:
        """End a validation. Ultralytics passes the validator instead of the trainer on rank 0."""
        if self._logger:
            self._logger.on_val_end(validator)

    def on_fit_epoch_end(self, trainer: Any) -> None:
        """Log the row of the epoch."""
        if training_logger := self._logger_for(trainer):
            training_logger.on_fit_epoch_end()

    def on_train_end(self, trainer: Any) -> None:
        """Log the evaluation of the best checkpoint."""
        if training_logger := self._logger_for(trainer):
            training_logger.on_train_end()

    def teardown(self, trainer: Any) -> None:
        """Close the run with the exit code of the training, after the user's callbacks of this event.

        The trainer is iterating over the event's functions, so a function that is added now is called last. If one of
        the user's functions fails before, :func:`tear_down_after_exceptions` calls this method again.
        """
        functions = trainer.callbacks.get("teardown", [])
        others = [function for function in functions if function != self._close]  # a failed event leaves it there
        if self.teardown in others[:-1]:
            functions[:] = [*others, self._close]
        else:
            self._close(trainer)

    # Helpers

    def _close(self, trainer: Any) -> None:
        functions = trainer.callbacks.get("teardown", [])
        if functions[-1:] == [self._close]:
            functions.pop()
        training_logger, self._logger = self._logger_for(trainer), None
        if training_logger:
            training_logger.teardown()

    def _find_handoff(self) -> Handoff | None:
        return self._handoff or Handoff.from_env()

    def _merge_options(self, handoff: Handoff | None) -> dict[str, Any]:
        from_scopes = scope_options(self._scopes, handoff.run_id if handoff else None)
        return merge(self._given, from_scopes, handoff.options if handoff else {})

    def _logger_for(self, trainer: Any) -> TrainingLogger | None:
        """Return the logger of this trainer's training. None in a process that does not log."""
        return self._logger if self._logger and self._logger.trainer is trainer else None


def _preempt_user_run(run: Any) -> None:
    """Mark the user's run as preempted when SIGTERM arrives, also before the training begins."""
    if not run.disabled and not is_attached(run):
        if not is_ours(run):
            registry.add_user_run(run)
        on_termination(preempt_runs)


def add_wandb_callback(model: Any, run: Any = None, **options: Unpack[RunOptionsDict]) -> WandbCallback:
    """Log each training of a model to one W&B run.

    The callback replaces the stock callback.

    Args:
        model: An ``ultralytics.YOLO`` or another Ultralytics model.
        run: Run to log to, as ``wandb.init`` returns it. None takes the active run or creates one.
        **options: As for :class:`WandbCallback`.

    Returns:
        The registered callback. It replaces the callback of an earlier call.

    Raises:
        TypeError: ``model`` is not an Ultralytics model, or ``run`` is not a W&B run.
        ConfigurationError: An option is unknown or wrong, or the handoff in the environment is damaged.
    """
    from ultralytics.engine.model import Model

    if not isinstance(model, Model):
        msg = f"model={model!r} is of type {type(model).__name__}; give the object that ultralytics.YOLO(...) returned"
        raise TypeError(msg)
    refresh_ultralytics_rank_constants()
    callback = WandbCallback(run, **options)
    callback.check(run)
    if run is None:
        _watch_active_run()
    if not any(isinstance(getattr(each, "__self__", None), WandbCallback) for each in model.callbacks[EVENTS[0]]):
        misuse_warnings.warn_of_late_callback(model)
    insert_callback(model.callbacks, callback)
    return callback


def insert_callback(registered: dict[str, list[Any]], callback: WandbCallback) -> None:
    """Register a callback in place of earlier ones, before the stock callback.

    Args:
        registered: The functions of a model or a trainer by event.
        callback: The callback.
    """
    for event, function in callback.callbacks.items():
        others = [
            other for other in registered[event] if not isinstance(getattr(other, "__self__", None), WandbCallback)
        ]
        index = first_stock(others)  # before Ultralytics 8.4.140 a previous training leaves the stock callback here
        registered[event] = [*others[:index], function, *others[index:]]


def _watch_active_run() -> None:
    """Watch the end of the active run, also for errors before the first event of a training."""
    if "wandb" in sys.modules:
        run = wandb_run()
        if run is not None:
            watch_finish(run)


def _wandb_run_type() -> type:
    """Return ``wandb.Run``, or without an import of wandb a class without instances."""
    wandb = sys.modules.get("wandb")
    return wandb.Run if wandb else type("NoRun", (), {})


callbacks: Mapping[str, Callable[[Any], None]] = WandbCallback().callbacks
"""The functions of one callback with default options, for ``model.add_callback(event, function)``."""


def make_worker_handoff(run: Any, handoff: Handoff | None, check: Callable[[Any], None]) -> Handoff | None:
    """Return the handoff of this process's run for the workers.

    Args:
        run: The run that was given to the callback, or None.
        handoff: The handoff that was pickled with the callback, or None.
        check: Check of the options against the open run of this process, or None.
    """
    if not is_worker():
        on_termination(preempt_runs)
        stop_button.training_started.set()
    handoff, run = find_run(run, handoff)
    check(run)
    run_ids_with_callback.update(each for each in (run and run.id, handoff and handoff.run_id) if each)
    if run is None:
        registry.launcher_run = handoff
        return handoff
    if not is_ours(run):
        adopt_user_run(run)
        # The run may be disabled, or its wandb-core may have ended. The launch must not fail for this.
        with contextlib.suppress(Exception):
            flush(run, flushes_itself=False)
            folder, first_step = get_run_dir(run), int(run.starting_step or 0)
            journal.record_opening([folder], folder, run.id, mode=run.settings.mode, first_step=first_step)
    worker_handoff = handoff_of_open_run(run)
    worker_handoff.delete_handback()
    registry.launcher_run = worker_handoff
    return replace(worker_handoff, options=handoff.options) if handoff else worker_handoff


def warm_up_worker(handoff: Handoff | None, options: RunOptions) -> None:
    """Preload wandb and start the service process.

    Both happen while Ultralytics loads model and data.

    Args:
        handoff: The launcher's run, or None.
        options: The user's options.
    """
    preload("wandb")
    run_mode, _ = logging_ranks(options, handoff, os.environ)
    attaches = handoff is not None and handoff.state == "open" and run_mode == "auto"
    if not attaches and "disabled" not in (options.mode, os.environ.get("WANDB_MODE")):
        ServiceProcess.prestart(options.finish_timeout)
