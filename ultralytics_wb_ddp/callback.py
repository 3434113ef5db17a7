"""A callback that logs an Ultralytics training to one W&B run."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ultralytics_wb_ddp.artifacts.checkpoints import CheckpointUploader
from ultralytics_wb_ddp.config.options import RunOptions
from ultralytics_wb_ddp.config.scope import active_scopes, scope_options
from ultralytics_wb_ddp.distributed.processes import Launcher, is_training_process, is_worker
from ultralytics_wb_ddp.distributed.signals import on_termination
from ultralytics_wb_ddp.distributed.stdio import keep_output_writable
from ultralytics_wb_ddp.distributed.topology import is_main_process
from ultralytics_wb_ddp.distributed.train import refresh_ultralytics_rank_constants
from ultralytics_wb_ddp.runs import misuse_warnings, stop_button
from ultralytics_wb_ddp.runs.handoff import Handoff
from ultralytics_wb_ddp.runs.misuse_warnings import run_ids_with_callback
from ultralytics_wb_ddp.runs.open_runs import warn_of_unused_run
from ultralytics_wb_ddp.runs.resolution import logging_ranks
from ultralytics_wb_ddp.runs.run_defaults import stock_run_options
from ultralytics_wb_ddp.runs.service_process import ServiceProcess
from ultralytics_wb_ddp.training.callback_transport import PortableCallbacks
from ultralytics_wb_ddp.training.rank_coordinator import RankCoordinator
from ultralytics_wb_ddp.training.stock_callback import first_stock, switch_off_stock_callback
from ultralytics_wb_ddp.training.teardown import tear_down_after_exceptions
from ultralytics_wb_ddp.training.training_logger import TrainingLogger, evaluation_row
from ultralytics_wb_ddp.utils.errors import exit_code_of
from ultralytics_wb_ddp.utils.threads import preload
from ultralytics_wb_ddp.wandb_client.run_state import is_closed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from typing_extensions import Unpack

    from ultralytics_wb_ddp.config.options import RunOptionsDict
    from ultralytics_wb_ddp.metrics.rank_metrics import RankTimer
    from ultralytics_wb_ddp.runs.run_record import RunRecord


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
ORPHAN_LOG_FILE = "output.log"  # in the training's directory: the output after the launcher has ended


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
    switched off for the training_logger.

    Args:
        run: Run to log to, as ``wandb.init`` returns it. None takes the active run, if there is one.
        **options: Options of a new run, named as in ``wandb.init`` (``project``, ``name``, ``tags``, ...), options of
            the logging (``checkpoints``, ``mistakes``, ``run_mode``, ...), and ``on_error``. With ``"warn"``, the
            default, an error of W&B is a warning. With ``"raise"`` it ends the training_logger. See
            :class:`~ultralytics_wb_ddp.config.options.RunOptions`.

    Raises:
        TypeError: ``run`` is not a W&B run.
        ConfigurationError: An option is unknown or wrong.
    """

    def __init__(self, run: Any = None, **options: Unpack[RunOptionsDict]) -> None:
        if run is not None and not isinstance(run, _wandb_run_type()):
            msg = f"run={run!r} is of type {type(run).__name__}; give what wandb.init() returned, or leave it out"
            raise TypeError(msg)
        self._options = RunOptions.parse(options, "add_wandb_callback")
        self._given = tuple(name for name, value in options.items() if value is not None)
        self._scopes = active_scopes()
        self._run = run
        given_options = {name: getattr(self._options, name) for name in self._given}
        remedy = "give them to wandb.init, or to the manager that makes the run"
        self._unused_options = misuse_warnings.GivenOptions(given_options, "add_wandb_callback", remedy)
        if run is not None:
            from ultralytics_wb_ddp.runs.open_runs import watch_finish

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
        handoff = self._handoff or Handoff.from_env()
        options, given_names = self._merged_options(handoff)
        return options.with_overrides(handoff.options, given_names) if handoff else options

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
        ranks = self._make_coordinator()
        if ranks.run_mode == "shared" and run is not None and not run.disabled:
            from ultralytics_wb_ddp.runs.open_runs import check_shared

            check_shared(run)
        self._unused_options.warn(run, is_made=ranks.run_mode == "auto")

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle, with a handoff instead of the run."""
        from ultralytics_wb_ddp.artifacts.starting_weights import candidate_files_of_calling_model

        handoff = make_worker_handoff(self._run, self._handoff, self.check)
        launcher = self._launcher or Launcher.of_this_process()
        options, given_names = self._merged_options(handoff)
        weights = (*self._weights, *candidate_files_of_calling_model())
        return {"options": options, "given": given_names, "handoff": handoff, "launcher": launcher, "weights": weights}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the pickled state. W&B is not used before this process is known to log."""
        self._options, self._given = state["options"], state["given"]
        self._unused_options = misuse_warnings.GivenOptions({}, "", "")  # the launcher has warned
        self._scopes = ()
        self._handoff = state["handoff"]
        self._launcher = state["launcher"]
        self._weights = state["weights"]
        if is_worker():
            keep_output_writable()
            tear_down_after_exceptions()
            self.check(None)
            if is_main_process():
                from ultralytics_wb_ddp.runs.preemption import preempt_runs

                on_termination(preempt_runs)  # a run may be opened any time from now on
                warm_up_worker(self._handoff or Handoff.from_env(), self.options)
        self._run = None
        self._logger = None
        self._data = WeakKeyDictionary()

    def __deepcopy__(self, memo: dict[int, Any]) -> WandbCallback:
        """Return this object, because a copy would share the open run."""
        return self

    # Events, in the order in which Ultralytics fires them

    def on_pretrain_routine_start(self, trainer: Any) -> None:
        """Prepare the training without a run. Dataset, model or checkpoint may still fail."""
        switch_off_stock_callback(trainer, self)
        if is_training_process(trainer) and is_main_process():
            self._prepare_training(trainer)

    def on_pretrain_routine_end(self, trainer: Any) -> None:
        """Open the run and publish it to the other ranks. The training begins now."""
        switch_off_stock_callback(trainer, self)
        if is_main_process():
            training_logger = self._logger_for(trainer) or self._open_run(trainer)
            training_logger.ranks.connect()
            if training_logger.run:
                self._unused_options.warn(
                    training_logger.run.wandb_run, is_made=training_logger.run.origin in {"adopt", "attach"}
                )
            training_logger.start_inputs(self._weights)
            training_logger.write_config()
            training_logger.ranks.publish_run(training_logger.run, trainer.loss_names)
        else:
            self._open_rank_run(trainer)

    def on_train_epoch_start(self, trainer: Any) -> None:
        """Begin an epoch."""
        if self.timer:
            self.timer.on_train_epoch_start()
        training_logger = self._logger_for(trainer)
        if training_logger:
            training_logger.begin_epoch()

    def on_train_batch_start(self, _: Any) -> None:
        """Record the start of a batch."""
        if self.timer:
            self.timer.on_train_batch_start()

    def on_train_batch_end(self, trainer: Any) -> None:
        """Log the batch, if the options select it."""
        if self.timer:
            self.timer.on_train_batch_end()
        training_logger = self._logger_for(trainer)
        if training_logger:
            training_logger.on_batch()

    def on_train_epoch_end(self, trainer: Any) -> None:
        """Keep losses and learning rates until the epoch ends."""
        training_logger = self._logger_for(trainer)
        if training_logger is None:
            return
        if self.timer:
            self.timer.on_train_epoch_end()
        training_logger.end_epoch()

    def on_val_start(self, validator: Any) -> None:
        """Collect the mistakes of the best checkpoint.

        Args:
            validator: The validator, which Ultralytics passes instead of the trainer.
        """
        if self.timer:
            self.timer.on_val_start()
        training_logger = self._logger
        if training_logger and training_logger.trainer.validator is validator:
            training_logger.ranks.collect_mistakes(validator)
            training_logger.start_model_profile()

    def on_val_end(self, validator: Any) -> None:
        """Prefetch the rank metrics for the row of the epoch.

        Args:
            validator: The validator, which Ultralytics passes on rank 0 instead of the trainer.
        """
        if self.timer:
            self.timer.on_val_end()
        if self._logger and validator.training:
            self._logger.ranks.prefetch_rank_metrics(self._logger.epoch)

    def on_fit_epoch_end(self, trainer: Any) -> None:
        """Log the epoch: losses, learning rates, validation metrics, new plots.

        After the last epoch Ultralytics fires this event once more, with the metrics of the best checkpoint. The epoch
        counter may then exceed the number of epochs. The row of this event belongs to the last trained epoch.
        """
        training_logger = self._logger_for(trainer)
        if training_logger is None:
            return
        with contextlib.suppress(Exception):  # a missing rank metric must not end the training
            training_logger.pending_row |= training_logger.ranks.exchange_rank_metrics(trainer, training_logger.epoch)
        if training_logger.run and not training_logger.is_main:
            if training_logger.pending_row and training_logger.is_epoch_over:
                training_logger.log_row()
            training_logger.is_epoch_over = True  # on this rank; the main process may still fail
            if training_logger.run.stop_requested():
                training_logger.ranks.request_stop()
        elif training_logger.run:
            training_logger.log_epoch()

    def on_train_end(self, trainer: Any) -> None:
        """Log the best checkpoint, curves, metrics per class and the worst images."""
        training_logger = self._logger_for(trainer)
        if training_logger is None:
            return
        training_logger.is_finished = True
        guarded_run = training_logger.run
        if guarded_run is None:
            return
        if training_logger.checkpoints:
            training_logger.checkpoints.on_train_end(trainer)
        if training_logger.is_validated:
            training_logger.pending_row |= evaluation_row(guarded_run, trainer, training_logger.ranks.mistakes)
        training_logger.log_row()
        training_logger.write_final_metrics()

    def teardown(self, trainer: Any) -> None:
        """Close the run with the exit code of the training. Only the process that opened the run finishes it."""
        training_logger, self._logger = self._logger_for(trainer), None
        if training_logger and training_logger.run:
            error = sys.exc_info()[1]
            failed = error is not None and error is not training_logger.outer_exception
            training_logger.end(failed=failed)
            stop_button.active_training_ids.discard(id(self))
            if not failed:
                training_logger.ranks.wait_for_local_ranks()
            upload_error = (
                training_logger.checkpoints.close(trainer, failed=failed) if training_logger.checkpoints else None
            )
            training_logger.finish_inputs(failed=failed)
            # Only the main process gets on_train_end. Another rank that is here without an error has finished.
            is_cut_off = training_logger.is_main and not training_logger.is_finished
            training_logger.run.close(exit_code_of(error) if failed else int(is_cut_off or upload_error is not None))
            training_logger.ranks.close()
            if upload_error and not failed:
                raise upload_error
        elif training_logger:
            training_logger.ranks.close()

    # Helpers

    def _merged_options(self, handoff: Handoff | None) -> tuple[RunOptions, tuple[str, ...]]:
        """Return the merged options and the names the user set explicitly."""
        from_scopes = scope_options(self._scopes, handoff.run_id if handoff else None)
        return self._options.with_overrides(from_scopes, self._given), (*self._given, *from_scopes)

    def _logger_for(self, trainer: Any) -> TrainingLogger | None:
        """Return the logger of this trainer's training. None in a process that does not log."""
        return self._logger if self._logger and self._logger.trainer is trainer else None

    def _make_logger(self, trainer: Any, ranks: RankCoordinator, *, is_main: bool = True) -> TrainingLogger:
        handled = sys.exc_info()[1]
        return TrainingLogger(trainer, ranks, self.options, self._launcher, is_main=is_main, outer_exception=handled)

    def _prepare_training(self, trainer: Any) -> None:
        """Check the options before Ultralytics loads the dataset, and preload wandb."""
        from ultralytics_wb_ddp.runs.open_runs import (
            active_run_for,
            is_ours,
            resolve_handoff,
            watch_finish,
        )

        self._data[trainer] = trainer.args.data
        _find_previous_record(trainer)
        handoff = resolve_handoff(self._run, self._handoff)
        run = active_run_for(self._run, handoff)
        self.check(run)
        if run is not None and not run.disabled and not is_ours(run):
            watch_finish(run)
            _preempt_user_run(run)
        elif run is None:
            warm_up_worker(handoff, self.options)

    def _open_run(self, trainer: Any) -> TrainingLogger:
        from ultralytics_wb_ddp.runs.resolution import open_run, warn_of_lost_run

        save_dir = Path(trainer.save_dir)
        previous = _find_previous_record(trainer)
        ranks = self._make_coordinator()
        guarded_run = open_run(
            self._run,
            self._handoff,
            self.options,
            earlier=previous,
            default=stock_run_options(trainer),
            which=ranks.plan_for,
            nodes=ranks.node_plans,
        )
        self._logger = training_logger = self._make_logger(trainer, ranks)
        training_logger.data = self._data.get(trainer, trainer.args.data)
        if guarded_run:
            if trainer.args.resume and previous is None and not (self._handoff or Handoff.from_env()):
                warn_of_lost_run(guarded_run, trainer.args.resume, save_dir)
            training_logger.run, training_logger.checkpoints = (
                guarded_run,
                CheckpointUploader(guarded_run, self.options),
            )
            self._install_handlers(save_dir)
            guarded_run.start(save_dir, previous)
        return training_logger

    def _open_rank_run(self, trainer: Any) -> None:
        """Open the run of another rank, if the rank logs."""
        ranks = self._make_coordinator()
        ranks.connect()
        self._logger = training_logger = self._make_logger(trainer, ranks, is_main=False)
        if ranks.plan is None:
            handoff = self._handoff or Handoff.from_env()
            warn_of_unused_run(handoff.run_id if handoff else None)
        training_logger.run = ranks.open_rank_run(self.options, Path(trainer.save_dir))
        if training_logger.run:
            self._install_handlers(Path(trainer.save_dir))
            training_logger.run.start()
            if not ranks.metric_prefix:  # the main process writes the config of a shared run
                training_logger.write_config()

    def _install_handlers(self, save_dir: Path) -> None:
        """Install the handlers for SIGTERM, launcher death and the Stop button."""
        from ultralytics_wb_ddp.runs.preemption import preempt_runs

        on_termination(preempt_runs)
        if is_worker():
            keep_output_writable(save_dir / ORPHAN_LOG_FILE)
        stop_button.training_started.set()
        stop_button.active_training_ids.add(id(self))

    def _make_coordinator(self) -> RankCoordinator:
        handoff = self._handoff or Handoff.from_env()
        return RankCoordinator(*logging_ranks(self.options, handoff, os.environ), self.options)

    @property
    def timer(self) -> RankTimer | None:
        """The timer of this rank during a training."""
        return self._logger.ranks.timer if self._logger else None


def _preempt_user_run(run: Any) -> None:
    """Mark the user's run as preempted when SIGTERM arrives, also before the training begins."""
    from ultralytics_wb_ddp.runs.open_runs import is_ours, registry
    from ultralytics_wb_ddp.runs.preemption import preempt_runs
    from ultralytics_wb_ddp.wandb_client.internals import is_attached

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
    for event, function in callback.callbacks.items():
        known = model.callbacks[event]
        others = [other for other in known if not isinstance(getattr(other, "__self__", None), WandbCallback)]
        index = first_stock(others)  # before Ultralytics 8.4.140 a previous training leaves the stock callback here
        model.callbacks[event] = [*others[:index], function, *others[index:]]
    return callback


def _find_previous_record(trainer: Any) -> RunRecord | None:
    """Return the run record of the resumed training, or None.

    Raises:
        ConfigurationError: The training is still running in another process.
    """
    if not trainer.args.resume:
        return None
    from ultralytics_wb_ddp.runs.run_record import RunRecord

    previous = RunRecord.find(Path(trainer.save_dir), trainer.args.resume)
    if previous:
        previous.check_not_running()
    return previous


def _watch_active_run() -> None:
    """Watch the end of the active run, also for errors before the first event of a training."""
    if "wandb" in sys.modules:
        from ultralytics_wb_ddp.runs.open_runs import watch_finish
        from ultralytics_wb_ddp.wandb_client.run_state import wandb_run

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
    from ultralytics_wb_ddp.runs.open_runs import (
        active_run_for,
        adopt_user_run,
        handoff_of_open_run,
        is_ours,
        resolve_handoff,
    )
    from ultralytics_wb_ddp.runs.preemption import preempt_runs
    from ultralytics_wb_ddp.wandb_client.internals import flush

    if not is_worker():
        on_termination(preempt_runs)
        stop_button.training_started.set()
    handoff = resolve_handoff(run, handoff)
    run = active_run_for(run, handoff)
    check(run)
    run_ids_with_callback.update(each for each in (run and run.id, handoff and handoff.run_id) if each)
    if run is None:
        return handoff
    if not is_ours(run):
        adopt_user_run(run)
        # The run may be disabled, or its wandb-core may have ended. The launch must not fail for this.
        with contextlib.suppress(Exception):
            flush(run, flushes_itself=False)
    worker_handoff = handoff_of_open_run(run)
    return replace(worker_handoff, options=handoff.options) if handoff else worker_handoff


def warm_up_worker(handoff: Handoff | None, options: RunOptions) -> None:
    """Preload wandb and start the service process.

    Both happen while Ultralytics loads model and data.

    Args:
        handoff: The launcher's run, or None.
        options: The user's options.
    """
    preload("wandb", "ultralytics_wb_ddp.runs.resolution")
    run_mode, _ = logging_ranks(options, handoff, os.environ)
    attaches = handoff is not None and handoff.state == "open" and run_mode == "auto"
    if not attaches and "disabled" not in (options.mode, os.environ.get("WANDB_MODE")):
        ServiceProcess.prestart(options.finish_timeout)
