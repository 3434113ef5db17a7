"""Log the events of a training to its run."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.artifacts.checkpoint_metadata import STRIPPED, Measurement, Progress, finite_numbers
from ultralytics_wb_ddp.artifacts.checkpoints import CheckpointUploader
from ultralytics_wb_ddp.artifacts.missed_epochs import log_missed_epochs, read_epochs
from ultralytics_wb_ddp.distributed.processes import count_datasets, is_worker
from ultralytics_wb_ddp.distributed.signals import on_termination
from ultralytics_wb_ddp.distributed.stdio import keep_output_writable
from ultralytics_wb_ddp.distributed.topology import is_main_process
from ultralytics_wb_ddp.metrics import evaluation_charts, trainer_rows
from ultralytics_wb_ddp.runs import stop_button, trial_env
from ultralytics_wb_ddp.runs.guarded_run import close_failed_runs
from ultralytics_wb_ddp.runs.open_runs import registry, warn_of_unused_run
from ultralytics_wb_ddp.runs.preemption import preempt_runs
from ultralytics_wb_ddp.runs.resolution import open_main_run, warn_of_lost_run
from ultralytics_wb_ddp.runs.run_defaults import stock_run_options
from ultralytics_wb_ddp.runs.run_record import FINAL_PREFIX, RunRecord
from ultralytics_wb_ddp.runs.several_trainings import warn_of_several_trainings
from ultralytics_wb_ddp.training.rank_coordinator import RankCoordinator
from ultralytics_wb_ddp.utils.errors import exit_code_of
from ultralytics_wb_ddp.utils.serialization import to_plain
from ultralytics_wb_ddp.utils.threads import run_in_thread

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ultralytics_wb_ddp.artifacts.inputs import InputLogger
    from ultralytics_wb_ddp.config.options import RunOptions
    from ultralytics_wb_ddp.distributed.processes import Launcher
    from ultralytics_wb_ddp.metrics.mistake_collector import MistakeCollector
    from ultralytics_wb_ddp.metrics.rank_metrics import RankTimer
    from ultralytics_wb_ddp.runs.guarded_run import GuardedRun
    from ultralytics_wb_ddp.runs.handoff import Handoff


ORPHAN_LOG_FILE = "output.log"  # in the training's directory: the output after the launcher has ended


@dataclass
class TrainingLogger:
    """Logger of one training, with the state between its events.

    Each method ``on_...`` handles the trainer's event of that name.

    Attributes:
        trainer: Trainer of the training.
        ranks: Coordinator of the training's ranks.
        options: The user's options.
        launcher: Process that launched the training; None if this process trains itself.
        run: The run; None on a rank that does not log.
        checkpoints: Uploader of the checkpoints; None on a rank that is not the main process.
        inputs: Logger of the inputs; None on a rank that is not the main process.
        is_main: Whether this is the main process, which alone has the metrics.
        data: ``data`` argument of the user. Ultralytics replaces a URL by the path of its download.
        weights: Files known to the launcher from which the weights may have been loaded.
        arguments: Training arguments as last written to the run's config.
        pending_row: Row of the epoch that is not validated yet.
        epoch: Last trained epoch, counted from 1.
        is_epoch_over: Whether that epoch is over. From then on a validation evaluates the best checkpoint.
        is_validated: Whether the trainer's metrics are those of the last epoch or of the best checkpoint's evaluation.
        lacks_speed: Whether the model's speed is not logged yet, for lack of a validation.
        saved_before: File state of the last checkpoint before the epoch was saved.
        batches: Number of batches that this rank has trained since the first epoch; None before it trains.
        model_row: Future of the model's description in the first row.
        plots: Time of drawing of each logged plot, in seconds since 1970.
        is_best: Whether the epoch to be logged is the epoch of the best checkpoint.
        is_finished: Whether the training has reached its end.
        launcher_lost: Whether the launcher no longer runs.
        launcher_lost_reported: Whether a message has reported the lost launcher.
        outer_exception: Exception that the caller was handling when the training started; no failure of the training.
    """

    trainer: Any
    ranks: RankCoordinator
    options: RunOptions
    launcher: Launcher | None = None
    run: GuardedRun | None = None
    checkpoints: CheckpointUploader | None = None
    inputs: InputLogger | None = None
    is_main: bool = True
    data: Any = None
    weights: tuple[str, ...] = ()
    arguments: dict[str, Any] = field(default_factory=dict)
    _logged_arguments: dict[str, Any] = field(default_factory=dict)
    pending_row: dict[str, Any] = field(default_factory=dict)
    epoch: int = 0
    is_epoch_over: bool = False
    _metrics_before_epoch: Any = None
    is_validated: bool = False
    lacks_speed: bool = False
    saved_before: tuple[int, ...] | None = None
    batches: int | None = None
    model_row: Future[dict[str, Any]] | None = None
    plots: dict[Path, float] = field(default_factory=dict)
    is_best: bool = False
    is_finished: bool = False
    launcher_lost: bool = False
    launcher_lost_reported: bool = False
    outer_exception: BaseException | None = None
    _taking_row: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(
        cls,
        trainer: Any,
        options: RunOptions,
        user_run: Any,
        handoff: Handoff | None,
        *,
        launcher: Launcher | None = None,
        data: Any = None,
        weights: tuple[str, ...] = (),
    ) -> TrainingLogger:
        """Return the logger of a training that begins now. In the main process its run is open.

        Args:
            trainer: Trainer of the training.
            options: The user's options.
            user_run: The run that was given to this process, or None.
            handoff: The launcher's run, or None.
            launcher: Process that launched the training; None if this process trains itself.
            data: ``data`` argument of the user.
            weights: Files known to the launcher from which the weights may have been loaded.
        """
        close_failed_runs()
        registry.failed_exit_code = 1
        training_logger = cls(
            trainer,
            RankCoordinator(options, handoff),
            options,
            launcher,
            is_main=is_main_process(),
            data=data,
            weights=weights,
            outer_exception=sys.exc_info()[1],
        )
        if training_logger.is_main:
            training_logger._open_main_run(user_run, handoff)
        elif training_logger.ranks.plan is None:
            warn_of_unused_run(handoff.run_id if handoff else None)
        return training_logger

    def _open_main_run(self, user_run: Any, handoff: Handoff | None) -> None:
        trainer, save_dir = self.trainer, Path(self.trainer.save_dir)
        previous = find_previous_record(trainer)
        default = stock_run_options(trainer.args.project, trainer.args.name, save_dir)
        self.run = open_main_run(user_run, handoff, self.options, default, previous)
        if self.run is None:
            return
        if trainer.args.resume and previous is None and handoff is None:
            warn_of_lost_run(self.run, trainer.args.resume, save_dir)
        self.checkpoints = CheckpointUploader(self.run, self.options)
        self._install_handlers(save_dir)
        self.run.failed_exit_code = self.ranks.failed_exit_code
        self.run.explain_lost_core = self._report_lost_launcher
        self.run.start(save_dir, previous)

    def _install_handlers(self, save_dir: Path) -> None:
        """Install the handlers for launcher death and the Stop button."""
        if is_worker():
            keep_output_writable(save_dir / ORPHAN_LOG_FILE)
        stop_button.training_started.set()
        stop_button.active_training_ids.add(id(self))

    @property
    def timer(self) -> RankTimer | None:
        """Timer of this rank; None in one process or without ``rank_metrics``."""
        return self.ranks.timer

    def start(self) -> None:
        """Connect the ranks. Publish the run in the main process, and open the run of any other rank that logs."""
        if self.run or not self.is_main:
            on_termination(self.ranks.terminate)
        self.ranks.connect()
        if self.is_main:
            self._start_inputs()
            self._write_config()
            self.ranks.publish_run(self.run, self.trainer.loss_names)
            return
        save_dir = Path(self.trainer.save_dir)
        self.run = self.ranks.open_rank_run(self.options, save_dir)
        if self.run:
            self._install_handlers(save_dir)
            self.run.start()
            if not self.ranks.metric_prefix:  # the main process writes the config of a shared run
                self._write_config()

    def _write_config(self) -> None:
        """Write new and changed training arguments to the run's config."""
        if self.run is None:
            return
        with self.run.guard("the training's arguments"):
            current = effective_arguments(self.trainer)
            # Compared by identity: the conversion of all arguments takes a millisecond, and this is done in each epoch.
            replaced = {
                key: to_plain(value)
                for key, value in current.items()
                if self._logged_arguments.get(key, ...) is not value
            }
            changed = {key: value for key, value in replaced.items() if self.arguments.get(key, ...) != value}
            if changed:
                self.run.update_config(changed)
            self.arguments |= changed
            self._logged_arguments = current

    def _start_inputs(self) -> None:
        """Start to log the inputs of the training: dataset and weights.

        Call it after Ultralytics has checked the dataset and created the network.
        """
        if self.run is None or not self.options.inputs:
            return
        with self.run.guard("the training's inputs") as reachable:
            if reachable:
                from ultralytics_wb_ddp.artifacts.inputs import InputLogger, InputSources

                uri, goes_on = self.options.data_uri, self.run.is_resumed
                sources = InputSources.of_training(
                    self.trainer, data=self.data, data_uri=uri, weights=self.weights, goes_on=goes_on
                )
                self.inputs = InputLogger(sources, (os.environ.get("WANDB_API_KEY"),))
                self.inputs.start(self._log_inputs)

    def _log_inputs(self) -> None:
        run, inputs = self.run, self.inputs
        if run and inputs:
            run.run_in_background("the training's inputs", lambda: inputs.log(run.wandb_run))

    def _finish_inputs(self, *, failed: bool) -> None:
        """Log the remaining inputs at the end of the training.

        Args:
            failed: Whether the training failed.
        """
        if self.run and self.inputs:
            with self.run.guard("the training's inputs") as reachable:
                if reachable:
                    self.inputs.finish(self.run.wandb_run, failed=failed)

    def on_train_epoch_start(self) -> None:
        """Prepare for an epoch, also for one that is trained again."""
        self._stand_still_if_terminated()
        if self.timer:
            self.timer.on_train_epoch_start()
        # On a rank other than 0 the message that the previous epoch is over may still be on its way.
        if self.pending_row and self.is_epoch_over:
            self._log_row()
        self.pending_row, self.is_epoch_over = {}, False
        self._metrics_before_epoch = self.trainer.metrics
        if self.batches is None:
            self.batches = self._count_before()
            self._warn_of_several_trainings()
            self._log_missed_epochs()
        self._write_config()

    def _warn_of_several_trainings(self) -> None:
        if self.run and self.is_main:
            datasets = self.launcher.datasets if self.launcher else count_datasets()
            warn_of_several_trainings(self.run, is_resumed=bool(self.trainer.args.resume), datasets=datasets)

    def _log_missed_epochs(self) -> None:
        """Log epochs with a checkpoint but without a row, after an interruption."""
        run, trainer = self.run, self.trainer
        logged = run.record.epoch if run and run.is_resumed and self.is_main else None
        if run is None or logged is None or logged >= trainer.epoch:
            return
        with run.guard("epochs that were not logged before"):
            rows = read_epochs(Path(trainer.save_dir, "results.csv"), are_validated=trainer.args.val is not False)
            log_missed_epochs(run, rows, Path(trainer.best), until=trainer.epoch)

    def _count_before(self) -> int:
        """Return the number of batches before this session, also of repeated epochs."""
        recorded = self.run.record.batches if self.run and self.run.is_resumed else None
        recorded = self.ranks.batches if recorded is None else recorded
        return self.trainer.epoch * len(self.trainer.train_loader) if recorded is None else recorded

    def _stand_still_if_terminated(self) -> None:
        """Stop this thread once SIGTERM has arrived: what it trains on would be saved and not logged.

        The thread that acts on SIGTERM ends the process.
        """
        if self.run and registry.termination:
            self.run.is_epoch_being_saved = False
            threading.Event().wait()

    def on_train_batch_start(self) -> None:
        """Record the start of a batch."""
        self._stand_still_if_terminated()
        if self.timer:
            self.timer.on_train_batch_start()

    def on_train_batch_end(self) -> None:
        """Count a trained batch and log it if ``batch_interval`` is reached."""
        if self.timer:
            self.timer.on_train_batch_end()
        self.batches = (self.batches or 0) + 1
        if self.run:
            self.run.record.batches = self.batches
        interval = self.options.batch_interval
        if interval and self.batches % interval == 0 and self.run and not self.ranks.metric_prefix:
            row = trainer_rows.batch_row(self.trainer, self.batches)
            self.run.log_in_background(row, "the row of a batch")

    def on_train_epoch_end(self) -> None:
        """Keep losses and learning rates until the epoch is validated and saved.

        So one epoch is one row.
        """
        self._stand_still_if_terminated()
        if self.timer:
            self.timer.on_train_epoch_end()
        if self.run:
            self.run.is_epoch_being_saved = True
        self.epoch = self.trainer.epoch + 1
        self.saved_before = _file_state(self.trainer.last)
        if self.run:
            with self.run.guard("losses"):
                self.pending_row = {**trainer_rows.train_row(self.trainer, self.ranks.loss_names), "epoch": self.epoch}
            self._poll_launcher_and_stop()

    def on_val_start(self, validator: Any) -> None:
        """Collect the mistakes of the best checkpoint."""
        if self.run:
            self.run.is_epoch_being_saved = False
        if self.timer:
            self.timer.on_val_start()
        if self.trainer.validator is validator:
            self.ranks.collect_mistakes(validator)
            self._start_model_profile()

    def on_val_end(self, validator: Any) -> None:
        """Prefetch the rank metrics for the row of the epoch."""
        if self.timer:
            self.timer.on_val_end()
        if validator.training:
            self._stand_still_if_terminated()
            if self.run:
                self.run.is_epoch_being_saved = True
            self.ranks.prefetch_rank_metrics(self.epoch)

    def on_fit_epoch_end(self) -> None:
        """Log the epoch: losses, learning rates, validation metrics, new plots.

        After the last epoch Ultralytics fires this event once more, with the metrics of the best checkpoint. The epoch
        counter may then exceed the number of epochs. The row of this event belongs to the last trained epoch.
        """
        with contextlib.suppress(Exception):  # a missing rank metric must not end the training
            self.pending_row |= self.ranks.exchange_rank_metrics(self.trainer, self.epoch)
        if self.run is None:
            return
        if self.is_main:
            self._log_epoch(self.run)
            self.run.is_epoch_being_saved = False
            self.ranks.publish_end_of_epoch(self.epoch)
            return
        if self.pending_row and self.is_epoch_over:
            self._log_row()
        self.is_epoch_over = True  # on this rank; the main process may still fail
        self.run.is_epoch_being_saved = False
        self.ranks.on_end_of_epoch(self.epoch, functools.partial(self._log_row_in_background, self.epoch))
        if self.run.stop_requested():
            self.ranks.request_stop()

    def _log_row_in_background(self, epoch: int) -> None:
        """Log the row of an epoch on another rank than 0, once rank 0 has logged its own."""
        if self.run:
            self.run.run_in_background("the row of an epoch", functools.partial(self._log_row, epoch))

    def _log_epoch(self, run: GuardedRun) -> None:
        """Log the row of a finished epoch or of the final evaluation, in the main process."""
        trainer = self.trainer
        # A validation replaces the metrics. Not all validators run callbacks, and equal values may be new ones.
        self.is_validated = trainer.metrics is not self._metrics_before_epoch
        measured = Measurement(trainer.fitness, trainer.metrics or {}) if self.is_validated else Measurement()
        self.pending_row |= measured.metrics
        with run.guard("the model's description"):
            if trainer.epoch == 0:
                self.pending_row |= trainer_rows.described_row(trainer, self.model_row, is_measured=self.is_validated)
            if self.is_validated and self.lacks_speed:
                self.pending_row |= trainer_rows.speed_row(trainer)
            self.lacks_speed = not self.is_validated and (self.lacks_speed or trainer.epoch == 0)
        if not self.is_epoch_over:
            self.is_best = measured.fitness is not None and bool(measured.fitness == trainer.best_fitness)
        self.is_epoch_over, self._metrics_before_epoch = True, trainer.metrics
        self._log_row()
        self._apply_stop_request()
        if self.checkpoints:
            self.checkpoints.after_epoch(trainer, self.epoch, measured)

    def on_train_end(self) -> None:
        """Log the best checkpoint, curves, metrics per class and the worst images."""
        self.is_finished = True
        if self.run is None:
            return
        if self.checkpoints:
            self.checkpoints.on_train_end(self.trainer)
        if self.is_validated:
            self.pending_row |= evaluation_row(self.run, self.trainer, self.ranks.mistakes)
        self._log_row()
        self._write_final_metrics()

    def teardown(self) -> None:
        """Close the run with the exit code of the training. Only the process that opened the run finishes it.

        Raises:
            Exception: A checkpoint could not be uploaded, with ``on_error="raise"``.
        """
        upload_error: Exception | None = None
        error = sys.exc_info()[1]
        failed = error is not None and error is not self.outer_exception
        exit_code = exit_code_of(error) if failed else 0
        if self.run:
            self._log_pending_row(self.run, failed=failed)
            if self.is_main:
                self._write_config()  # the last epoch may have changed it
            stop_button.active_training_ids.discard(id(self))
            if not failed:
                self.ranks.wait_for_writers()
            if self.checkpoints:
                upload_error = self.checkpoints.close(self.trainer, failed=failed)
            self._finish_inputs(failed=failed)
            # Only the main process gets on_train_end. Another rank that is here without an error has finished.
            is_cut_off = self.is_main and not self.is_finished
            exit_code = self.ranks.exit_code_of(error) if failed else 0
            registry.failed_exit_code = exit_code or 1  # torchrun may terminate this rank before its run is finished
            self.run.close(exit_code if failed else int(is_cut_off or upload_error is not None))
            upload_error = None if failed else upload_error
        self.ranks.close(exit_code if isinstance(error, SystemExit) else 0)
        if self.run or not self.is_main:
            on_termination(preempt_runs)  # without this training, whose model would stay in memory
        if upload_error:
            raise upload_error

    def _log_pending_row(self, run: GuardedRun, *, failed: bool) -> None:
        """Log the pending row, or drop it if its epoch is repeated.

        A resumed training starts after the epoch of its last checkpoint. That checkpoint is saved before the row of the
        epoch can be logged.
        """
        if not self.pending_row:
            return
        if self._is_saved():
            if self.is_main:
                self._log_epoch(run)
            else:
                self._log_row()
        elif not failed and self.is_epoch_over:
            self._log_row()
        self.pending_row = {}

    def _is_saved(self) -> bool:
        """Return whether the last checkpoint, perhaps stripped, is of this epoch."""
        is_new = _file_state(self.trainer.last) not in {None, self.saved_before}
        return is_new and _epoch_in(self.trainer.last) in {self.epoch - 1, STRIPPED}

    def _log_row(self, epoch: int | None = None) -> None:
        """Log the pending row, with new plots, for the last trained epoch.

        Args:
            epoch: Epoch of the row; a row of another epoch stays pending. None logs any row.
        """
        with self._taking_row:  # other ranks than 0 log it from two threads
            if epoch is not None and self.pending_row.get("epoch") != epoch:
                return
            row, self.pending_row = self.pending_row, {}
        if self.run is None:
            return
        if not self.is_main:
            prefix = self.ranks.metric_prefix
            own_metrics = {
                f"{prefix}{key}": value for key, value in row.items() if not prefix or key.startswith("train/")
            }
            self.run.log({**own_metrics, "epoch": row.get("epoch", self.epoch)}, is_best=False)
            return
        with self.run.guard("plots"):
            for plots in (self.trainer.plots, getattr(self.trainer.validator, "plots", {})):
                row |= trainer_rows.changed_plots(plots, self.plots, self.run.guard)
        if self.launcher_lost and (message := self._report_lost_launcher()):
            self.run.on_launcher_lost(message)
        self.run.log({**row, "epoch": self.epoch}, is_best=self.is_best)

    def _write_final_metrics(self) -> None:
        """Write the metrics of the best checkpoint's evaluation to the run's summary.

        Under the metrics' own names W&B keeps the best value of each metric, and these may be of different epochs.
        """
        if self.run and self.is_main and self.is_validated:
            with self.run.guard("the final metrics"):
                numbers = finite_numbers(self.trainer.metrics)
                self.run.update_summary({f"{FINAL_PREFIX}{name}": value for name, value in numbers.items()})

    def _start_model_profile(self) -> None:
        """Count the model's operations in a thread during the first validation.

        The validation uses another model, the moving average of the weights. Without an average the count is done after
        the validation.
        """
        trainer = self.trainer
        is_idle = getattr(trainer, "ema", None) is not None and not trainer.args.profile
        if self.run and self.is_main and self.model_row is None and trainer.epoch == 0 and is_idle:
            self.model_row = run_in_thread("model", lambda: trainer_rows.model_profile_row(trainer))

    def _apply_stop_request(self) -> None:
        """Stop the training on all ranks if a stop was requested.

        Call it at the end of an epoch. There the main process sends its decision to the other ranks; at any other point
        they would wait for it forever.
        """
        if self.run and (self.run.stop_requested() or self.ranks.stop_requested() or trial_env.stop_requested()):
            self.trainer.stop = True
        if self.launcher_lost_reported and self.options.on_launcher_lost == "stop":
            self.trainer.stop = True

    def _poll_launcher_and_stop(self) -> None:
        """Check the Stop button and the launcher while an epoch is validated."""
        if self.run:
            self.run.poll_stop_button()
            if self.launcher and self.is_main and not self.launcher_lost_reported:
                self.run.background.submit(self._check_launcher)

    def _check_launcher(self) -> None:
        self.launcher_lost = bool(self.launcher and self.launcher.is_lost())

    def _report_lost_launcher(self) -> str:
        """Return the message on the lost launcher the first time, else an empty string."""
        if not self.launcher_lost_reported:
            self._check_launcher()
        if not self.launcher_lost or self.launcher_lost_reported or self.launcher is None:
            return ""
        self.launcher_lost_reported = True
        consequence = "stops at the end of this epoch" if self.options.on_launcher_lost == "stop" else "goes on"
        return f"the process that launched this training (pid {self.launcher.pid}) is gone: the training {consequence}"


def find_previous_record(trainer: Any) -> RunRecord | None:
    """Return the run record of the resumed training, or None.

    Raises:
        ConfigurationError: The training is still running in another process.
    """
    if not trainer.args.resume:
        return None
    previous = RunRecord.find(Path(trainer.save_dir), trainer.args.resume)
    if previous:
        previous.check_not_running()
    return previous


def effective_arguments(trainer: Any) -> dict[str, Any]:
    """Return the training arguments that the trainer uses.

    The trainer's own epochs, batch size and, for ``optimizer="auto"``, optimizer and ``lr0`` replace the arguments.

    Args:
        trainer: An Ultralytics trainer.
    """
    arguments = dict(vars(trainer.args))
    for name, attribute in (("epochs", "epochs"), ("batch", "batch_size")):
        arguments[name] = getattr(trainer, attribute, None) or arguments.get(name)
    optimizer = getattr(trainer, "optimizer", None)
    if optimizer is not None and str(arguments.get("optimizer")).lower() == "auto":  # newer releases replace "auto"
        rates = [group["initial_lr"] for group in optimizer.param_groups if "initial_lr" in group]
        arguments |= {"optimizer": type(optimizer).__name__, **({"lr0": min(rates)} if rates else {})}
    return arguments


def _epoch_in(checkpoint: Any) -> int | None:
    """Return a checkpoint's epoch, counted from 0. It is None for an unreadable file."""
    progress = Progress.read(Path(checkpoint))
    return progress.epoch if progress else None


def _file_state(file: Any) -> tuple[int, ...] | None:
    """Return a file's time, size and inode. Each write changes them; they are None without a file."""
    try:
        state = Path(file).stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size, state.st_ino


def evaluation_row(run: GuardedRun, trainer: Any, mistakes: MistakeCollector | None) -> dict[str, Any]:
    """Return curves, the table of classes and the table of mistakes.

    Args:
        run: The run, which guards each chart and table: an error of one does not affect the others.
        trainer: The trainer at the end of the training.
        mistakes: Mistakes of this rank; None without a table of mistakes.
    """
    row: dict[str, Any] = {}
    if trainer.args.plots:
        with run.guard("curves"):
            row |= evaluation_charts.curve_charts(trainer.validator.metrics, run.guard)
    with run.guard("the table of classes"):
        table = evaluation_charts.class_table(trainer.validator)
        if table is not None:
            row["per_class_metrics"] = table
    if mistakes:
        with run.guard("the table of mistakes"):
            from ultralytics_wb_ddp.metrics.mistakes_table import mistakes_table

            names, task = evaluation_charts.class_names(trainer.validator), trainer.validator.args.task
            table = mistakes_table(mistakes.gather(), names, task, run.guard)
            if table is not None:
                row["mistakes"] = table
    return row
