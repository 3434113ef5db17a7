"""Log the events of a training to its run."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.artifacts.checkpoint_metadata import STRIPPED, Measurement, Progress, finite_numbers
from ultralytics_wb_ddp.artifacts.missed_epochs import log_missed_epochs, read_epochs
from ultralytics_wb_ddp.distributed.processes import count_datasets
from ultralytics_wb_ddp.metrics import evaluation_charts, trainer_rows
from ultralytics_wb_ddp.runs import trial_env
from ultralytics_wb_ddp.runs.run_record import FINAL_PREFIX
from ultralytics_wb_ddp.runs.several_trainings import warn_of_several_trainings
from ultralytics_wb_ddp.utils.serialization import to_plain
from ultralytics_wb_ddp.utils.threads import run_in_thread

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future

    from ultralytics_wb_ddp.artifacts.checkpoints import CheckpointUploader
    from ultralytics_wb_ddp.artifacts.inputs import InputLogger
    from ultralytics_wb_ddp.config.options import RunOptions
    from ultralytics_wb_ddp.distributed.processes import Launcher
    from ultralytics_wb_ddp.metrics.mistake_collector import MistakeCollector
    from ultralytics_wb_ddp.runs.guarded_run import GuardedRun
    from ultralytics_wb_ddp.training.rank_coordinator import RankCoordinator


@dataclass
class TrainingLogger:
    """Logger of one training, with the state between its events.

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

    def write_config(self) -> None:
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

    def start_inputs(self, weights: Iterable[str] = ()) -> None:
        """Start to log the inputs of the training: dataset and weights.

        Call it after Ultralytics has checked the dataset and created the network.

        Args:
            weights: Files known to the launcher from which the weights may have been loaded.
        """
        if self.run is None or not self.options.inputs:
            return
        with self.run.guard("the training's inputs") as reachable:
            if reachable:
                from ultralytics_wb_ddp.artifacts.inputs import InputLogger, InputSources

                uri, goes_on = self.options.data_uri, self.run.is_resumed
                sources = InputSources.of_training(
                    self.trainer, data=self.data, data_uri=uri, weights=weights, goes_on=goes_on
                )
                self.inputs = InputLogger(sources, (os.environ.get("WANDB_API_KEY"),))
                self.inputs.start(self._log_inputs)

    def _log_inputs(self) -> None:
        run, inputs = self.run, self.inputs
        if run and inputs:
            run.run_in_background("the training's inputs", lambda: inputs.log(run.wandb_run))

    def finish_inputs(self, *, failed: bool) -> None:
        """Log the remaining inputs at the end of the training.

        Args:
            failed: Whether the training failed.
        """
        if self.run and self.inputs:
            with self.run.guard("the training's inputs") as reachable:
                if reachable:
                    self.inputs.finish(self.run.wandb_run, failed=failed)

    def begin_epoch(self) -> None:
        """Prepare for an epoch, also for one that is trained again."""
        # A rank other than 0 learns only now that the previous epoch is over.
        if self.pending_row and self.is_epoch_over:
            self.log_row()
        self.pending_row, self.is_epoch_over = {}, False
        self._metrics_before_epoch = self.trainer.metrics
        if self.batches is None:
            self.batches = self._count_before()
            self._warn_of_several_trainings()
            self._log_missed_epochs()
        self.write_config()

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

    def end_epoch(self) -> None:
        """Keep losses and learning rates until the epoch is validated and saved.

        So one epoch is one row.
        """
        self.epoch = self.trainer.epoch + 1
        self.saved_before = _file_state(self.trainer.last)
        if self.run:
            with self.run.guard("losses"):
                self.pending_row = {**trainer_rows.train_row(self.trainer, self.ranks.loss_names), "epoch": self.epoch}
            self.poll_launcher_and_stop()

    def log_epoch(self) -> None:
        """Log the row of a finished epoch or of the final evaluation.

        Only the main process calls this.
        """
        trainer, run = self.trainer, self.run
        assert run  # noqa: S101  # the callers have checked
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
        self.log_row()
        self.write_config()
        self.apply_stop_request()
        if self.checkpoints:
            self.checkpoints.after_epoch(trainer, self.epoch, measured)

    def end(self, *, failed: bool) -> None:
        """Log the pending row, or drop it if its epoch is repeated.

        A resumed training starts after the epoch of its last checkpoint. That checkpoint is saved before the row of the
        epoch can be logged.

        Args:
            failed: Whether the training failed.
        """
        if not self.pending_row:
            return
        if self._is_saved():
            if self.is_main:
                self.log_epoch()
            else:
                self.log_row()
        elif not failed and self.is_epoch_over:
            self.log_row()
        self.pending_row = {}

    def _is_saved(self) -> bool:
        """Return whether the last checkpoint, perhaps stripped, is of this epoch."""
        is_new = _file_state(self.trainer.last) not in {None, self.saved_before}
        return is_new and _epoch_in(self.trainer.last) in {self.epoch - 1, STRIPPED}

    def log_row(self) -> None:
        """Log the pending row, with new plots, for the last trained epoch."""
        row, self.pending_row = self.pending_row, {}
        if self.run is None:
            return
        if not self.is_main:
            prefix = self.ranks.metric_prefix
            own_metrics = {
                f"{prefix}{key}": value for key, value in row.items() if not prefix or key.startswith("train/")
            }
            self.run.log({**own_metrics, "epoch": self.epoch}, is_best=False)
            return
        with self.run.guard("plots"):
            for plots in (self.trainer.plots, getattr(self.trainer.validator, "plots", {})):
                row |= trainer_rows.changed_plots(plots, self.plots, self.run.guard)
        self._on_launcher_lost(self.run)
        self.run.log({**row, "epoch": self.epoch}, is_best=self.is_best)

    def write_final_metrics(self) -> None:
        """Write the metrics of the best checkpoint's evaluation to the run's summary.

        Under the metrics' own names W&B keeps the best value of each metric, and these may be of different epochs.
        """
        if self.run and self.is_main and self.is_validated:
            with self.run.guard("the final metrics"):
                numbers = finite_numbers(self.trainer.metrics)
                self.run.update_summary({f"{FINAL_PREFIX}{name}": value for name, value in numbers.items()})

    def start_model_profile(self) -> None:
        """Count the model's operations in a thread during the first validation.

        The validation uses another model, the moving average of the weights. Without an average the count is done after
        the validation.
        """
        trainer = self.trainer
        is_idle = getattr(trainer, "ema", None) is not None and not trainer.args.profile
        if self.run and self.is_main and self.model_row is None and trainer.epoch == 0 and is_idle:
            self.model_row = run_in_thread("model", lambda: trainer_rows.model_profile_row(trainer))

    def on_batch(self) -> None:
        """Count a trained batch and log it if ``batch_interval`` is reached."""
        self.batches = (self.batches or 0) + 1
        if self.run:
            self.run.record.batches = self.batches
        interval = self.options.batch_interval
        if interval and self.batches % interval == 0 and self.run and not self.ranks.metric_prefix:
            row = trainer_rows.batch_row(self.trainer, self.batches)
            self.run.log_in_background(row, "the row of a batch")

    def apply_stop_request(self) -> None:
        """Stop the training on all ranks if a stop was requested.

        Call it at the end of an epoch. There the main process sends its decision to the other ranks; at any other point
        they would wait for it forever.
        """
        if self.run and (self.run.stop_requested() or self.ranks.stop_requested() or trial_env.stop_requested()):
            self.trainer.stop = True
        if self.launcher_lost_reported and self.options.on_launcher_lost == "stop":
            self.trainer.stop = True

    def poll_launcher_and_stop(self) -> None:
        """Check the Stop button and the launcher while an epoch is validated."""
        if self.run:
            self.run.poll_stop_button()
            if self.launcher and self.is_main and not self.launcher_lost_reported:
                self.run.background.submit(self._check_launcher)

    def _check_launcher(self) -> None:
        self.launcher_lost = bool(self.launcher and self.launcher.is_lost())

    def _on_launcher_lost(self, run: GuardedRun) -> None:
        """Report the lost launcher once."""
        if self.launcher_lost and self.launcher and not self.launcher_lost_reported:
            self.launcher_lost_reported = True
            consequence = "stops at the end of this epoch" if self.options.on_launcher_lost == "stop" else "goes on"
            message = (
                f"the process that launched this training (pid {self.launcher.pid}) is gone: the training {consequence}"
            )
            run.on_launcher_lost(message)


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
