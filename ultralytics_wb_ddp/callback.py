"""The one seam to the trainer: a callback that logs an Ultralytics training into one W&B run."""

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
ORPHAN_LOG_FILE = "output.log"  # in the training's directory: what it prints once its launcher is gone


class WandbCallback:
    """Logs an Ultralytics training, in whatever number of processes, into one W&B run.

    Unless ``run_mode`` or ``rank_scope`` say otherwise, only the main process logs; the others do not even import
    wandb. The run is, in this order: the one that is given
    or active in this process; the one that is open in the launcher; the closed one that the environment names
    (``WANDB_RUN_ID``, ``WANDB_PROJECT``); with ``resume=True`` the one of the training's directory; a new one.
    A run that was opened here is finished here, any other is left open.

    The stock W&B callback is switched off for the training.

    Args:
        run: Run to log into, as ``wandb.init`` returns it; None takes the active one, if there is one.
        **options: How a new run is made, in the words of ``wandb.init`` (``project``, ``name``, ``tags``, ...), what is
            logged (``checkpoints``, ``mistakes``, ``run_mode``, ...) and whether trouble with W&B is a warning
            (``on_error="warn"``, the default) or ends the training (``"raise"``): see
            :class:`~ultralytics_wb_ddp.config.options.RunOptions`.

    Raises:
        TypeError: ``run`` is no W&B run.
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
        given = {name: getattr(self._options, name) for name in self._given}
        remedy = "give them to wandb.init, or to the manager that makes the run"
        self._unused_options = misuse_warnings.GivenOptions(given, "add_wandb_callback", remedy)
        if run is not None:
            from ultralytics_wb_ddp.runs.open_runs import mark_failed_on_exception

            mark_failed_on_exception(run)
            if is_closed(run):
                misuse_warnings.warn_of_finished_run(run)
        self._handoff: Handoff | None = None
        self._launcher: Launcher | None = None
        self._logger: TrainingLogger | None = None
        self._data: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()  # what trainers that get ready are to train on
        self._weights: tuple[str, ...] = ()  # files that the launcher's model may have its weights from

    @property
    def options(self) -> RunOptions:
        """What is asked for: here, or else by ``wandb_config`` and the configuration of the launcher's run."""
        handoff = self._handoff or Handoff.from_env()
        options, given = self._merged_options(handoff)
        return options.with_overrides(handoff.options, given) if handoff else options

    @property
    def callbacks(self) -> Mapping[str, Callable[[Any], None]]:
        """The functions to register, by event: the shape of the stock ``wb.callbacks``."""
        return PortableCallbacks({event: getattr(self, event) for event in EVENTS})

    def check(self, run: Any) -> None:
        """Refuse what cannot be: on all ranks at the same moment, and in a launcher before anything is launched.

        Args:
            run: The run that is open here and that the training is to log to, or None.

        Raises:
            ConfigurationError: Mode and scope do not fit to the run or to what is known of the ranks, or the
                environment is damaged.
        """
        team = self._make_coordinator()
        if team.run_mode == "shared" and run is not None and not run.disabled:
            from ultralytics_wb_ddp.runs.open_runs import check_shared

            check_shared(run)
        self._unused_options.warn(run, is_made=team.run_mode == "auto")

    def __getstate__(self) -> dict[str, Any]:
        """Return what travels to the workers: plain configuration, and the id of an open run instead of the run."""
        from ultralytics_wb_ddp.artifacts.starting_weights import candidate_files_of_calling_model

        handoff, launcher = make_worker_handoff(self._run, self._handoff, self.check), self._launcher or Launcher.here()
        options, given = self._merged_options(handoff)
        weights = (*self._weights, *candidate_files_of_calling_model())
        return {"options": options, "given": given, "handoff": handoff, "launcher": launcher, "weights": weights}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take up what travelled; nothing of W&B is touched before this process turns out to log."""
        self._options, self._given = state["options"], state["given"]
        self._unused_options = misuse_warnings.GivenOptions({}, "", "")  # where they were given
        self._scopes = ()
        self._handoff = state["handoff"]
        self._launcher = state["launcher"]
        self._weights = state["weights"]
        if is_worker():
            keep_output_writable()
            tear_down_after_exceptions()
            self.check(None)
            if is_main_process():
                warm_up_worker(self._handoff or Handoff.from_env(), self.options)
        self._run = None
        self._logger = None
        self._data = WeakKeyDictionary()

    def __deepcopy__(self, memo: dict[int, Any]) -> WandbCallback:
        """Stay the same object: a copy in the same process would have to share the live run."""
        return self

    # Events, in the order in which Ultralytics fires them

    def on_pretrain_routine_start(self, trainer: Any) -> None:
        """Get ready. No run is touched: dataset, model and checkpoint may yet turn out to be none to train with."""
        switch_off_stock_callback(trainer, self)
        if is_training_process(trainer) and is_main_process():
            self._prepare_training(trainer)

    def on_pretrain_routine_end(self, trainer: Any) -> None:
        """Open the run, now that it is certain that the training begins or goes on; the other ranks join."""
        switch_off_stock_callback(trainer, self)
        if is_main_process():
            training = self._logger_for(trainer) or self._open_run(trainer)
            training.ranks.connect()
            if training.run:
                self._unused_options.warn(training.run.wandb_run, is_made=training.run.how in {"adopt", "attach"})
            training.start_inputs(self._weights)
            training.write_config()
            training.ranks.publish_run(training.run, trainer.loss_names)
        else:
            self._open_rank_run(trainer)

    def on_train_epoch_start(self, trainer: Any) -> None:
        """Get ready for an epoch."""
        if self.timer:
            self.timer.on_train_epoch_start()
        training = self._logger_for(trainer)
        if training:
            training.begin_epoch()

    def on_train_batch_start(self, _: Any) -> None:
        """Note that a batch has arrived."""
        if self.timer:
            self.timer.on_train_batch_start()

    def on_train_batch_end(self, trainer: Any) -> None:
        """Log the batch, if every so many of them are to be logged."""
        if self.timer:
            self.timer.on_train_batch_end()
        training = self._logger_for(trainer)
        if training:
            training.on_batch()

    def on_train_epoch_end(self, trainer: Any) -> None:
        """Hold losses and learning rates until the epoch is over."""
        training = self._logger_for(trainer)
        if training is None:
            return
        if self.timer:
            self.timer.on_train_epoch_end()
        training.end_epoch()

    def on_val_start(self, validator: Any) -> None:
        """Watch what the best checkpoint gets wrong; the event comes with the validator."""
        if self.timer:
            self.timer.on_val_start()
        training = self._logger
        if training and training.trainer.validator is validator:
            training.ranks.collect_mistakes(validator)
            training.start_model_profile()

    def on_val_end(self, validator: Any) -> None:
        """Have ready what the row of the epoch takes; the event comes with the validator, on rank 0."""
        if self.timer:
            self.timer.on_val_end()
        if self._logger and validator.training:
            self._logger.ranks.prefetch_rank_metrics(self._logger.epoch)

    def on_fit_epoch_end(self, trainer: Any) -> None:
        """Log the epoch: losses, learning rates, validation metrics, new plots.

        After the last epoch Ultralytics fires this once more, with the metrics of the best checkpoint and a counter
        that may lie beyond the training; that row belongs to the last epoch that was trained.
        """
        training = self._logger_for(trainer)
        if training is None:
            return
        with contextlib.suppress(Exception):  # a number that cannot be had is not worth a training
            training.pending_row |= training.ranks.exchange_rank_metrics(trainer, training.epoch)
        if training.run and not training.is_main:
            if training.pending_row and training.is_epoch_over:
                training.log_row()
            training.is_epoch_over = True  # here; the main process may still be about to fail
            if training.run.stop_requested():
                training.ranks.request_stop()
        elif training.run:
            training.log_epoch()

    def on_train_end(self, trainer: Any) -> None:
        """Log the best checkpoint, the curves, the numbers of each class and the worst images."""
        training = self._logger_for(trainer)
        if training is None:
            return
        training.is_finished = True
        session = training.run
        if session is None:
            return
        if training.checkpoints:
            training.checkpoints.on_train_end(trainer)
        if training.is_validated:
            training.pending_row |= evaluation_row(session, trainer, training.ranks.mistakes)
        training.log_row()
        training.write_final_metrics()

    def teardown(self, trainer: Any) -> None:
        """Close the run, if it was opened here, with the exit code of the training."""
        training, self._logger = self._logger_for(trainer), None
        if training and training.run:
            error = sys.exc_info()[1]
            failed = error is not None and error is not training.outer_exception
            training.end(failed=failed)
            stop_button.active_training_ids.discard(id(self))
            if not failed:
                training.ranks.wait_for_local_ranks()
            trouble = training.checkpoints.close(trainer, failed=failed) if training.checkpoints else None
            training.finish_inputs(failed=failed)
            # The other ranks are not told of a training's end; one that has got here without an error has reached it.
            is_cut_off = training.is_main and not training.is_finished
            training.run.close(exit_code_of(error) if failed else int(is_cut_off or trouble is not None))
            training.ranks.close()
            if trouble and not failed:
                raise trouble
        elif training:
            training.ranks.close()

    # Helpers

    def _merged_options(self, handoff: Handoff | None) -> tuple[RunOptions, tuple[str, ...]]:
        """Return what is asked for here and by the blocks around, and the names of it, which nobody else may change."""
        around = scope_options(self._scopes, handoff.run_id if handoff else None)
        return self._options.with_overrides(around, self._given), (*self._given, *around)

    def _logger_for(self, trainer: Any) -> TrainingLogger | None:
        """Return the state of this training; None in a process that does not log."""
        return self._logger if self._logger and self._logger.trainer is trainer else None

    def _make_logger(self, trainer: Any, team: RankCoordinator, *, is_main: bool = True) -> TrainingLogger:
        handled = sys.exc_info()[1]
        return TrainingLogger(trainer, team, self.options, self._launcher, is_main=is_main, outer_exception=handled)

    def _prepare_training(self, trainer: Any) -> None:
        """Refuse what cannot be before anything is loaded, and load what it takes to open a run."""
        from ultralytics_wb_ddp.runs.open_runs import (
            active_run_for,
            is_ours,
            mark_failed_on_exception,
            resolve_handoff,
            user_runs,
        )
        from ultralytics_wb_ddp.runs.preemption import preempt_runs

        self._data[trainer] = trainer.args.data
        _find_earlier(trainer)
        handoff = resolve_handoff(self._run, self._handoff)
        run = active_run_for(self._run, handoff)
        self.check(run)
        if run is not None and not run.disabled and not is_ours(run):
            mark_failed_on_exception(run)
            user_runs[run.id] = run
            on_termination(preempt_runs)
        elif run is None:
            warm_up_worker(handoff, self.options)

    def _open_run(self, trainer: Any) -> TrainingLogger:
        """Get the run of this training."""
        from ultralytics_wb_ddp.runs.resolution import open_run, warn_of_lost_run

        save_dir = Path(trainer.save_dir)
        earlier = _find_earlier(trainer)
        team = self._make_coordinator()
        session = open_run(
            self._run,
            self._handoff,
            self.options,
            earlier=earlier,
            default=stock_run_options(trainer),
            which=team.plan_for,
            nodes=team.node_plans,
        )
        self._logger = training = self._make_logger(trainer, team)
        training.data = self._data.get(trainer, trainer.args.data)
        if session:
            if trainer.args.resume and earlier is None and not (self._handoff or Handoff.from_env()):
                warn_of_lost_run(session, trainer.args.resume, save_dir)
            training.run, training.checkpoints = session, CheckpointUploader(session, self.options)
            self._install_handlers(save_dir)
            session.start(save_dir, earlier)
        return training

    def _open_rank_run(self, trainer: Any) -> None:
        """On a rank that is not the main process, get the run that it logs to, if it does."""
        team = self._make_coordinator()
        team.connect()
        self._logger = training = self._make_logger(trainer, team, is_main=False)
        if team.plan is None:
            handoff = self._handoff or Handoff.from_env()
            warn_of_unused_run(handoff.run_id if handoff else None)
        training.run = team.open_rank_run(self.options, Path(trainer.save_dir))
        if training.run:
            self._install_handlers(Path(trainer.save_dir))
            training.run.start()
            if not team.metric_prefix:  # of a shared run, the main process writes the config
                training.write_config()

    def _install_handlers(self, save_dir: Path) -> None:
        """Be ready for what may happen to a process that logs: SIGTERM, a launcher that is gone, the Stop button."""
        from ultralytics_wb_ddp.runs.preemption import preempt_runs

        on_termination(preempt_runs)
        if is_worker():
            keep_output_writable(save_dir / ORPHAN_LOG_FILE)
        stop_button.training_started.set()
        stop_button.active_training_ids.add(id(self))

    def _make_coordinator(self) -> RankCoordinator:
        """Return this rank's view of the others, in this training's mode."""
        handoff = self._handoff or Handoff.from_env()
        return RankCoordinator(*logging_ranks(self.options, handoff, os.environ), self.options)

    @property
    def timer(self) -> RankTimer | None:
        """The clock of this rank during a training."""
        return self._logger.ranks.timer if self._logger else None


def add_wandb_callback(model: Any, run: Any = None, **options: Unpack[RunOptionsDict]) -> WandbCallback:
    """Log the trainings of a model into one W&B run each, in place of the stock callback.

    Args:
        model: An ``ultralytics.YOLO`` or another Ultralytics model.
        run: Run to log into, as ``wandb.init`` returns it; None takes the active one or makes one.
        **options: As for :class:`WandbCallback`.

    Returns:
        The callback that was registered, in place of one from an earlier call.

    Raises:
        TypeError: ``model`` is no Ultralytics model, or ``run`` is no W&B run.
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
        place = first_stock(others)  # before Ultralytics 8.4.140 an earlier training has left it here
        model.callbacks[event] = [*others[:place], function, *others[place:]]
    return callback


def _find_earlier(trainer: Any) -> RunRecord | None:
    """Return the record of the training that is resumed, or None.

    Raises:
        ConfigurationError: It still goes on in another process.
    """
    if not trainer.args.resume:
        return None
    from ultralytics_wb_ddp.runs.run_record import RunRecord

    earlier = RunRecord.find(Path(trainer.save_dir), trainer.args.resume)
    if earlier:
        earlier.check_not_running()
    return earlier


def _watch_active_run() -> None:
    """Have the user's run that is active here fail with its training, also where that fails before its first event."""
    if "wandb" in sys.modules:
        from ultralytics_wb_ddp.runs.open_runs import mark_failed_on_exception
        from ultralytics_wb_ddp.wandb_client.run_state import wandb_run

        run = wandb_run()
        if run is not None:
            mark_failed_on_exception(run)


def _wandb_run_type() -> type:
    """Return ``wandb.Run``; a class without instances where wandb was never imported, so that no run can exist."""
    wandb = sys.modules.get("wandb")
    return wandb.Run if wandb else type("NoRun", (), {})


callbacks: Mapping[str, Callable[[Any], None]] = WandbCallback().callbacks
"""The functions of one callback with default options, for ``model.add_callback(event, function)``."""


def make_worker_handoff(run: Any, handoff: Handoff | None, check: Callable[[Any], None]) -> Handoff | None:
    """Return the record by which a worker finds the run of this process.

    Args:
        run: The run that was given to the callback, or None.
        handoff: The record that the callback has brought here itself, or None.
        check: Refuses what cannot be, given the run that is open here or None.
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
        # Disabled, or its wandb-core is gone: the launch is not to fail for it.
        with contextlib.suppress(Exception):
            flush(run, flushes_itself=False)
    travelling = handoff_of_open_run(run)
    return replace(travelling, options=handoff.options) if handoff else travelling


def warm_up_worker(handoff: Handoff | None, options: RunOptions) -> None:
    """Have ready what it takes to open a run, while Ultralytics loads what it takes to train.

    Args:
        handoff: The run of the launcher, if there is one.
        options: What the user has asked for.
    """
    preload("wandb", "ultralytics_wb_ddp.runs.resolution")
    run_mode, _ = logging_ranks(options, handoff, os.environ)
    attaches = handoff is not None and handoff.state == "open" and run_mode == "auto"
    if not attaches and "disabled" not in (options.mode, os.environ.get("WANDB_MODE")):
        ServiceProcess.prestart(options.finish_timeout)
