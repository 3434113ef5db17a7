"""A training that is being logged: what is known of it, and what each event writes of it to the run."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp import charts, trial
from ultralytics_wb_ddp.background import beside
from ultralytics_wb_ddp.plain import to_plain

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future
    from pathlib import Path

    from ultralytics_wb_ddp.checkpoints import Checkpoints
    from ultralytics_wb_ddp.config import RunOptions
    from ultralytics_wb_ddp.inputs import Inputs
    from ultralytics_wb_ddp.launch import Launcher
    from ultralytics_wb_ddp.team import Team
    from ultralytics_wb_ddp.training import Session

__all__ = ["FINAL", "LoggedTraining"]

FINAL = "final/"  # before the names of metrics in the summary


@dataclass
class LoggedTraining:
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
        arguments: Its arguments as last written to the run's config.
        pending: The row of the epoch that is not validated yet.
        epoch: The last epoch that was trained, counted from 1.
        batches: How many batches this rank has trained since the first epoch.
        model_row: What is said of the model in the first row, once it is known.
        plots: Pictures that were logged, and when they were drawn.
        is_best: Whether the best checkpoint is of the epoch that is to be logged.
        ended: Whether it has got to its end.
        deserted: Whether its launcher is gone.
        orphaned: Whether it has said so and does without.
        handled: What the caller was handling when the training started, which is not its failure.
    """

    trainer: Any
    team: Team
    options: RunOptions
    launcher: Launcher | None = None
    session: Session | None = None
    checkpoints: Checkpoints | None = None
    inputs: Inputs | None = None
    is_main: bool = True
    arguments: dict[str, Any] = field(default_factory=dict)
    pending: dict[str, Any] = field(default_factory=dict)
    epoch: int = 0
    batches: int = 0
    model_row: Future[dict[str, Any]] | None = None
    plots: dict[Path, float] = field(default_factory=dict)
    is_best: bool = False
    ended: bool = False
    deserted: bool = False
    orphaned: bool = False
    handled: BaseException | None = None

    def write_config(self) -> None:
        """Write arguments that are new or changed since the last time."""
        if self.session:
            with self.session.guarded("the training's arguments"):
                arguments = to_plain(vars(self.trainer.args))
                changed = {key: value for key, value in arguments.items() if self.arguments.get(key, ...) != value}
                self.session.update_config(changed)
                self.arguments = arguments

    def find_inputs(self, weights: Iterable[str] = ()) -> None:
        """Begin to look at what it is made from, once Ultralytics has checked the dataset and made the network.

        Args:
            weights: Files that the launcher knows of from which the weights may be.
        """
        if self.session is None or not self.options.inputs:
            return
        with self.session.guarded("the training's inputs") as reachable:
            if reachable:
                from ultralytics_wb_ddp.inputs import Inputs, Sources

                given, uri = self.arguments.get("data"), self.options.data_uri  # Ultralytics has replaced a URL by now
                goes_on = self.session.goes_on
                sources = Sources.of_training(self.trainer, data=given, data_uri=uri, weights=weights, goes_on=goes_on)
                self.inputs = Inputs(sources, (os.environ.get("WANDB_API_KEY"),))
                self.inputs.begin(self._log_inputs)

    def _log_inputs(self) -> None:
        session, inputs = self.session, self.inputs
        if session and inputs:
            session.do_beside("the training's inputs", lambda: inputs.log(session.run))

    def close_inputs(self, *, failed: bool) -> None:
        """Log what it is made from at its end, if that was not known before."""
        if self.session and self.inputs:
            with self.session.guarded("the training's inputs") as reachable:
                if reachable:
                    self.inputs.end(self.session.run, failed=failed)

    def log_row(self) -> None:
        """Log what is pending, with new plots, as a row of the last trained epoch."""
        row, self.pending = self.pending, {}
        if self.session is None:
            return
        if not self.is_main:
            prefix = self.team.key_prefix
            mine = {f"{prefix}{key}": value for key, value in row.items() if not prefix or key.startswith("train/")}
            self.session.log({**mine, "epoch": self.epoch}, is_best=False)
            return
        with self.session.guarded("plots"):
            for plots in (self.trainer.plots, getattr(self.trainer.validator, "plots", {})):
                row |= charts.images_of(plots, self.plots)
        self._leave_launcher(self.session)
        self.session.log({**row, "epoch": self.epoch}, is_best=self.is_best)

    def write_final_metrics(self) -> None:
        """Put the numbers of the last evaluation, that of the best checkpoint, into the run's summary.

        Under the metrics' own names W&B keeps the best value of each, which need not be of one and the same epoch.
        """
        if self.session and self.is_main:
            with self.session.guarded("the final metrics"):
                numbers = {name: float(value) for name, value in (self.trainer.metrics or {}).items()}
                finite = {f"{FINAL}{name}": value for name, value in numbers.items() if math.isfinite(value)}
                self.session.summarize(finite)

    def measure_model(self) -> None:
        """Begin to count the model's operations while the first epoch is validated.

        What is validated is the average of the weights, another model; where there is none, it is left for later.
        """
        trainer = self.trainer
        is_idle = getattr(trainer, "ema", None) is not None and not trainer.args.profile
        if self.session and self.is_main and self.model_row is None and trainer.epoch == 0 and is_idle:
            self.model_row = beside("model", lambda: charts.model_row(trainer))

    def count_batch(self) -> None:
        """Count a batch that was trained, and log each one that is due."""
        self.batches += 1
        interval = self.options.batch_interval
        if interval and self.batches % interval == 0 and self.session and not self.team.key_prefix:
            row = charts.batch_row(self.trainer, self.batches)
            self.session.log_beside(row, "the row of a batch")

    def stop_if_wanted(self) -> None:
        """Stop the training in all ranks if somebody wants it, at the end of an epoch.

        There the main process tells the other ranks whether to stop; anywhere else they would wait for it for ever.
        """
        if self.session and (self.session.stop_requested() or self.team.is_asked_to_stop() or trial.stop_requested()):
            self.trainer.stop = True
        if self.orphaned and self.options.on_launcher_lost == "stop":
            self.trainer.stop = True

    def look_around(self) -> None:
        """Find out, while an epoch is validated, whether somebody wants it to stop or nobody waits for it."""
        if self.session:
            self.session.look_at_stop_button()
            if self.launcher and self.is_main and not self.orphaned:
                self.session.background.do(self._look_for_launcher)

    def _look_for_launcher(self) -> None:
        self.deserted = bool(self.launcher and self.launcher.is_gone())

    def _leave_launcher(self, session: Session) -> None:
        """Do, once, what it takes when nobody waits for this training any more."""
        if self.deserted and self.launcher and not self.orphaned:
            self.orphaned = True
            then = "stops at the end of this epoch" if self.options.on_launcher_lost == "stop" else "goes on"
            message = f"the process that launched this training (pid {self.launcher.pid}) is gone: the training {then}"
            session.lose_launcher(message)
