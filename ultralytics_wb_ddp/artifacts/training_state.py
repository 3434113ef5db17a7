"""Read a training's progress from disk, and finish the run of a training that has no more epochs to train.

A training may be killed, terminated or fail after its last epoch and before the end of its run.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.artifacts.checkpoint_metadata import Progress, finite_numbers
from ultralytics_wb_ddp.artifacts.missed_epochs import best_checkpoint_epoch, log_missed_epochs, read_epochs
from ultralytics_wb_ddp.config.options import RunOptions, merge
from ultralytics_wb_ddp.config.scope import scope_options
from ultralytics_wb_ddp.config.validation import ConfigurationError
from ultralytics_wb_ddp.distributed.topology import is_main_process
from ultralytics_wb_ddp.runs.run_record import FINAL_PREFIX, RunRecord
from ultralytics_wb_ddp.utils.errors import exit_code_of
from ultralytics_wb_ddp.utils.logging import logger, pluralize

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from ultralytics_wb_ddp.config.options import RunOptionsDict
    from ultralytics_wb_ddp.runs.guarded_run import GuardedRun


CHECKPOINT, ARGUMENTS, RESULTS = "last.pt", "args.yaml", "results.csv"


@dataclass(frozen=True)
class TrainingState:
    """The state of a training on disk, for a restarted job.

    A training can be resumed, is over, or has not begun. Call :meth:`finish_run` if ``is_over``; otherwise train with
    ``resume=state.can_be_resumed``.

    Attributes:
        directory: Directory of the training.
        checkpoint: Last checkpoint of the training; the file may be missing.
        can_be_resumed: Whether Ultralytics can resume from the checkpoint.
        is_over: Whether all epochs were trained, or the training stopped early.
        trained: Number of trained epochs, as far as it is known.
        epochs: Requested number of epochs; None where it is not known.
        run_id: Id of the training's run; None where no run is known.
        is_run_open: Whether the run was never finished, because the training was killed, terminated or failed before.
    """

    directory: Path
    checkpoint: Path
    can_be_resumed: bool = False
    is_over: bool = False
    trained: int = 0
    epochs: int | None = None
    run_id: str | None = None
    is_run_open: bool = False

    @classmethod
    def of(cls, training: str | os.PathLike[str]) -> Self:
        """Return the state of a training without importing torch or wandb.

        Args:
            training: Directory of the training, or one of its checkpoints such as ``weights/last.pt``.

        Raises:
            ConfigurationError: The checkpoint is damaged.
        """
        path = Path(training)
        if path.suffix == ".pt":
            checkpoint = path
            directory = path.parent.parent if path.parent.name == "weights" else path.parent
        else:
            directory, checkpoint = path, path / "weights" / CHECKPOINT
        if not checkpoint.exists():
            return cls(directory, checkpoint)
        progress = _read(checkpoint, directory)
        record = RunRecord.find(directory, checkpoint)
        return cls(
            directory,
            checkpoint,
            can_be_resumed=progress.can_be_resumed,
            is_over=not progress.can_be_resumed,
            trained=progress.trained or _last_epoch(directory),
            epochs=progress.epochs,
            run_id=record.id if record else None,
            is_run_open=record is not None and record.is_unfinished,
        )

    def __str__(self) -> str:
        of_run = f", run {self.run_id}" if self.run_id else ""
        count = pluralize(f"{self.trained or '?'} of {self.epochs or '?'}", "epoch") + of_run
        if self.is_over:
            return f"the training in {self.directory} is over: {count}"
        if self.can_be_resumed:
            return f"the training in {self.directory} can be resumed: {count}"
        return f"there is no training in {self.directory}"

    def finish_run(self, **options: Unpack[RunOptionsDict]) -> bool:
        """Finish the run of a training that was killed, terminated or failed after its last epoch.

        This method logs the best checkpoint, its metrics and the missing epochs, and finishes the run. A run that is
        open in this process, such as a manager's, is left open. The method does nothing for a run that was finished
        with exit code 0, for an unknown run, and on ranks other than the main process.

        Args:
            **options: The options of ``add_wandb_callback``.

        Returns:
            Whether the method has logged to the run.

        Raises:
            ConfigurationError: An option is wrong, or the training still runs in another process.
        """
        given = RunOptions.parse_layer(options, "finish_run")
        parsed = RunOptions(**merge(given, scope_options((), self.run_id)))
        if not self.is_over or not is_main_process():
            return False
        record = RunRecord.find(self.directory, self.checkpoint)
        if record is None:
            return False
        from ultralytics_wb_ddp.runs.resolution import reopen_run

        record.check_not_running()
        default = {"dir": os.environ.get("WANDB_DIR") or str(self.directory)}
        run = reopen_run(record.handoff(), parsed, default, only_if_open=not record.is_unfinished)
        if run is None:
            return False
        logger.info(
            "run %s is finished now: its training ended after the last epoch, before the run was finished",
            run.wandb_run.id,
        )
        exit_code = 0
        try:
            run.start(self.directory, record)
            self._log_missing(run, parsed)
        except BaseException as error:
            exit_code = exit_code_of(error)
            raise
        finally:
            run.close(exit_code)
        return True

    def _log_missing(self, run: GuardedRun, options: RunOptions) -> None:
        """Log the missing epochs, final metrics and best checkpoint from disk."""
        from ultralytics_wb_ddp.artifacts.checkpoints import CheckpointUploader
        from ultralytics_wb_ddp.wandb_client.run_state import get_summary

        rows, best_checkpoint = _rows(self.directory), self.checkpoint.with_name("best.pt")
        known: dict[str, Any] = {}
        with run.guard("epochs that were not logged before"):
            if not run.wandb_run.offline:
                known = get_summary(run.wandb_run.summary)
            # A killed process may have recorded less than it had logged.
            epochs = [epoch for epoch in (run.record.epoch, known.get("epoch")) if isinstance(epoch, int)]
            run.record.epoch = max(epochs, default=None)
            log_missed_epochs(run, rows, best_checkpoint)
            if best_epoch := best_checkpoint_epoch(best_checkpoint, rows):  # a record may lag behind this one, too
                run.record.best_epoch = best_epoch
                run.update_summary({"best/epoch": best_epoch})
        best = next((row for row in rows if row["epoch"] == run.record.best_epoch), {})
        metrics = {name: value for name, value in finite_numbers(best).items() if name.startswith("metrics/")}
        with run.guard("the final metrics"):
            if not any(name.startswith(FINAL_PREFIX) for name in known):
                run.update_summary({f"{FINAL_PREFIX}{name}": value for name, value in metrics.items()})
        past = SimpleNamespace(
            best=best_checkpoint,
            last=self.checkpoint,
            args=SimpleNamespace(**{**_arguments(self.directory), "save": True}),
            metrics=metrics,
            fitness=None,
            best_fitness=None,
        )
        checkpoints = CheckpointUploader(run, options)
        checkpoints.on_train_end(past)
        checkpoint_error = checkpoints.close(past, failed=False)
        if checkpoint_error:
            raise checkpoint_error


# Helpers
def _read(checkpoint: Path, directory: Path) -> Progress:
    """Return a checkpoint's progress. ``args.yaml`` completes the number of epochs.

    Raises:
        ConfigurationError: The checkpoint is damaged.
    """
    progress = Progress.read(checkpoint)
    if progress is None:
        msg = (
            f"{str(checkpoint)!r} is no complete checkpoint ({checkpoint.stat().st_size} bytes), perhaps because its "
            f"training was killed while it was written: put back a copy, or remove it to train from the beginning"
        )
        raise ConfigurationError(msg)
    if progress.epochs is None:
        epochs = _arguments(directory).get("epochs")
        return replace(progress, epochs=epochs if isinstance(epochs, int) else None)
    return progress


def _arguments(directory: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load((directory / ARGUMENTS).read_text(encoding="utf-8"))
    except Exception:  # noqa: BLE001  # absent or damaged in any way
        content = None
    return content if isinstance(content, dict) else {}


def _rows(directory: Path) -> tuple[dict[str, float], ...]:
    """Return the rows of ``results.csv`` without placeholders; a missing or damaged file has none."""
    with suppress(Exception):
        return read_epochs(directory / RESULTS, are_validated=_arguments(directory).get("val") is not False)
    return ()


def _last_epoch(directory: Path) -> int:
    return int(max((row["epoch"] for row in _rows(directory)), default=0))
