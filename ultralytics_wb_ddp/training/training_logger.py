"""Write each event of a training to its run."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.artifacts.checkpoint_metadata import Measurement, Progress, finite_numbers
from ultralytics_wb_ddp.artifacts.results_csv import read_results, without_placeholders
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


STRIPPED = -1  # the epoch in a checkpoint of a training that is over


@dataclass
class TrainingLogger:
    """What is known of the training that is being logged.

    Attributes:
        trainer: Its trainer.
        team: The ranks that take part in it.
        options: What the user asked for.
        launcher: The process that has launched it, if that is another one.
        session: The run; None on a rank that does not log.
        checkpoints: What becomes of its checkpoints; None on a rank that is not the main process.
        inputs: What it is made from; None on a rank that is not the main process.
        is_main: Whether this is the main process, which alone knows the metrics.
        data: The dataset as it was asked for; Ultralytics replaces a URL by the place of its download.
        arguments: Its arguments as last written to the run's config.
        given: The same as the trainer holds them.
        pending: The row of the epoch that is not validated yet.
        epoch: The last epoch that was trained, counted from 1.
        is_over: Whether that epoch is over; what is validated from then on is the best checkpoint.
        unmeasured: The trainer's metrics before the epoch's validation, which replaces them.
        is_measured: Whether the trainer's metrics are those of the last epoch, or of the best checkpoint's evaluation.
        lacks_speed: Whether the speed of the model could not be logged yet, as nothing was validated.
        saved_before: What the last checkpoint was like before the epoch was saved.
        batches: How many batches this rank has trained since the first epoch; None before it trains.
        model_row: What is said of the model in the first row, once it is known.
        plots: Pictures that were logged, and when they were drawn.
        is_best: Whether the best checkpoint is of the epoch that is to be logged.
        ended: Whether it has got to its end.
        deserted: Whether its launcher is gone.
        orphaned: Whether it has said so and does without.
        handled: What the caller was handling when the training started, which is not its failure.
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
        """Write arguments that are new or changed since the last time."""
        if self.run is None:
            return
        with self.run.guard("the training's arguments"):
            now = effective_arguments(self.trainer)
            # Told by identity: to make all of them plain takes a millisecond, and this is done in each epoch.
            touched = {
                key: to_plain(value) for key, value in now.items() if self._logged_arguments.get(key, ...) is not value
            }
            changed = {key: value for key, value in touched.items() if self.arguments.get(key, ...) != value}
            if changed:
                self.run.update_config(changed)
            self.arguments |= changed
            self._logged_arguments = now

    def start_inputs(self, weights: Iterable[str] = ()) -> None:
        """Begin to look at what it is made from, once Ultralytics has checked the dataset and made the network.

        Args:
            weights: Files that the launcher knows of from which the weights may be.
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
        session, inputs = self.run, self.inputs
        if session and inputs:
            session.run_in_background("the training's inputs", lambda: inputs.log(session.wandb_run))

    def finish_inputs(self, *, failed: bool) -> None:
        """Log what it is made from at its end, if that was not known before."""
        if self.run and self.inputs:
            with self.run.guard("the training's inputs") as reachable:
                if reachable:
                    self.inputs.finish(self.run.wandb_run, failed=failed)

    def begin_epoch(self) -> None:
        """Get ready for an epoch, which may be one that is trained again."""
        if (
            self.pending_row and self.is_epoch_over
        ):  # of a rank that does not know that an epoch is over until the next begins
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
        """Log epochs whose checkpoint was saved and whose row was not: what stopped the training came in between."""
        session, trainer = self.run, self.trainer
        logged = session.record.epoch if session and session.is_resumed and self.is_main else None
        if session is None or logged is None or logged >= trainer.epoch:
            return
        with session.guard("epochs that were not logged before"):
            rows = read_results(Path(trainer.save_dir, "results.csv")).rows
            measured = without_placeholders(rows, are_validated=trainer.args.val is not False)
            best = _epoch_in(trainer.best)
            for row in measured:
                epoch = int(row["epoch"])
                if logged < epoch <= trainer.epoch:
                    is_measured = any(name.startswith("val/") for name in row)
                    session.log({**row, "epoch": epoch}, is_best=is_measured and best == epoch - 1)

    def _count_before(self) -> int:
        """Return how many batches were trained before this session, also those of epochs that are trained again."""
        known = self.run.record.batches if self.run and self.run.is_resumed else None
        known = self.ranks.batches if known is None else known
        return self.trainer.epoch * len(self.trainer.train_loader) if known is None else known

    def end_epoch(self) -> None:
        """Hold losses and learning rates until the epoch is validated and saved: one epoch is one row."""
        self.epoch = self.trainer.epoch + 1
        self.saved_before = _file_state(self.trainer.last)
        if self.run:
            with self.run.guard("losses"):
                self.pending_row = {**trainer_rows.train_row(self.trainer, self.ranks.loss_names), "epoch": self.epoch}
            self.poll_launcher_and_stop()

    def log_epoch(self) -> None:
        """On the main process, log the row of an epoch that is over, or of the best checkpoint's evaluation."""
        trainer, session = self.trainer, self.run
        assert session  # noqa: S101  # the callers have checked
        # A validation makes new metrics. Not all validators tell of themselves, and a value does not tell its age.
        self.is_validated = trainer.metrics is not self._metrics_before_epoch
        measured = Measurement(trainer.fitness, trainer.metrics or {}) if self.is_validated else Measurement()
        self.pending_row |= measured.metrics
        with session.guard("what describes the model"):
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
        """Log the row that is pending if its epoch is not going to be trained again, and drop it otherwise.

        A training is resumed after the epoch of its last checkpoint, which is saved before the row can be logged.
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
        """Return whether the last checkpoint is of the last epoch, or what is left of it at the end."""
        is_new = _file_state(self.trainer.last) not in {None, self.saved_before}
        return is_new and _epoch_in(self.trainer.last) in {self.epoch - 1, STRIPPED}

    def log_row(self) -> None:
        """Log what is pending, with new plots, as a row of the last trained epoch."""
        row, self.pending_row = self.pending_row, {}
        if self.run is None:
            return
        if not self.is_main:
            prefix = self.ranks.metric_prefix
            mine = {f"{prefix}{key}": value for key, value in row.items() if not prefix or key.startswith("train/")}
            self.run.log({**mine, "epoch": self.epoch}, is_best=False)
            return
        with self.run.guard("plots"):
            for plots in (self.trainer.plots, getattr(self.trainer.validator, "plots", {})):
                row |= trainer_rows.changed_plots(plots, self.plots, self.run.guard)
        self._on_launcher_lost(self.run)
        self.run.log({**row, "epoch": self.epoch}, is_best=self.is_best)

    def write_final_metrics(self) -> None:
        """Put the numbers of the last evaluation, that of the best checkpoint, into the run's summary.

        Under the metrics' own names W&B keeps the best value of each, which need not be of one and the same epoch.
        """
        if self.run and self.is_main and self.is_validated:
            with self.run.guard("the final metrics"):
                numbers = finite_numbers(self.trainer.metrics)
                self.run.update_summary({f"{FINAL_PREFIX}{name}": value for name, value in numbers.items()})

    def start_model_profile(self) -> None:
        """Begin to count the model's operations while the first epoch is validated.

        What is validated is the average of the weights, another model; where there is none, it is left for later.
        """
        trainer = self.trainer
        is_idle = getattr(trainer, "ema", None) is not None and not trainer.args.profile
        if self.run and self.is_main and self.model_row is None and trainer.epoch == 0 and is_idle:
            self.model_row = run_in_thread("model", lambda: trainer_rows.model_profile_row(trainer))

    def on_batch(self) -> None:
        """Count a batch that was trained, and log each one that is due."""
        self.batches = (self.batches or 0) + 1
        if self.run:
            self.run.record.batches = self.batches
        interval = self.options.batch_interval
        if interval and self.batches % interval == 0 and self.run and not self.ranks.metric_prefix:
            row = trainer_rows.batch_row(self.trainer, self.batches)
            self.run.log_in_background(row, "the row of a batch")

    def apply_stop_request(self) -> None:
        """Stop the training in all ranks if somebody wants it, at the end of an epoch.

        There the main process tells the other ranks whether to stop; anywhere else they would wait for it for ever.
        """
        if self.run and (self.run.stop_requested() or self.ranks.stop_requested() or trial_env.stop_requested()):
            self.trainer.stop = True
        if self.launcher_lost_reported and self.options.on_launcher_lost == "stop":
            self.trainer.stop = True

    def poll_launcher_and_stop(self) -> None:
        """Find out, while an epoch is validated, whether somebody wants it to stop or nobody waits for it."""
        if self.run:
            self.run.poll_stop_button()
            if self.launcher and self.is_main and not self.launcher_lost_reported:
                self.run.background.submit(self._check_launcher)

    def _check_launcher(self) -> None:
        self.launcher_lost = bool(self.launcher and self.launcher.is_lost())

    def _on_launcher_lost(self, session: GuardedRun) -> None:
        """Do, once, what it takes when nobody waits for this training any more."""
        if self.launcher_lost and self.launcher and not self.launcher_lost_reported:
            self.launcher_lost_reported = True
            then = "stops at the end of this epoch" if self.options.on_launcher_lost == "stop" else "goes on"
            message = f"the process that launched this training (pid {self.launcher.pid}) is gone: the training {then}"
            session.on_launcher_lost(message)


def effective_arguments(trainer: Any) -> dict[str, Any]:
    """Return a training's arguments, with what the trainer goes by where it has decided otherwise."""
    arguments = dict(vars(trainer.args))
    for name, attribute in (("epochs", "epochs"), ("batch", "batch_size")):
        arguments[name] = getattr(trainer, attribute, None) or arguments.get(name)
    optimizer = getattr(trainer, "optimizer", None)
    if optimizer is not None and str(arguments.get("optimizer")).lower() == "auto":  # newer releases write it down
        rates = [group["initial_lr"] for group in optimizer.param_groups if "initial_lr" in group]
        arguments |= {"optimizer": type(optimizer).__name__, **({"lr0": min(rates)} if rates else {})}
    return arguments


def _epoch_in(checkpoint: Any) -> int | None:
    """Return the epoch that a checkpoint was written after, counted from 0; None where it cannot be read."""
    progress = Progress.read(Path(checkpoint))
    return progress.epoch if progress else None


def _file_state(file: Any) -> tuple[int, ...] | None:
    """Return what changes when a file is written; None where there is none."""
    try:
        state = Path(file).stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size, state.st_ino


def evaluation_row(session: GuardedRun, trainer: Any, mistakes: MistakeCollector | None) -> dict[str, Any]:
    """Return what the row of a training's end shows of the evaluation: curves, a table of classes, one of mistakes.

    Args:
        session: The run; what fails is a message of its own and costs nothing else.
        trainer: The trainer at the end of the training.
        mistakes: What this rank has collected; None where nobody wants it.
    """
    row: dict[str, Any] = {}
    if trainer.args.plots:
        with session.guard("curves"):
            row |= evaluation_charts.curve_charts(trainer.validator.metrics, session.guard)
    with session.guard("the table of classes"):
        table = evaluation_charts.class_table(trainer.validator)
        if table is not None:
            row["per_class_metrics"] = table
    if mistakes:
        with session.guard("the table of mistakes"):
            from ultralytics_wb_ddp.metrics.mistakes_table import mistakes_table

            names, task = evaluation_charts.class_names(trainer.validator), trainer.validator.args.task
            table = mistakes_table(mistakes.gather(), names, task, session.guard)
            if table is not None:
                row["mistakes"] = table
    return row
