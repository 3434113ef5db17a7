"""How far a training has come, by what it left on disk, and the end of a run whose training was killed at its end."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.artifacts.checkpoint_metadata import Progress
from ultralytics_wb_ddp.artifacts.results_csv import read_results
from ultralytics_wb_ddp.config.options import RunOptions
from ultralytics_wb_ddp.config.scope import scope_options
from ultralytics_wb_ddp.config.validation import ConfigurationError
from ultralytics_wb_ddp.distributed.topology import is_main_process
from ultralytics_wb_ddp.runs.run_record import FINAL_PREFIX, RunRecord
from ultralytics_wb_ddp.utils.errors import exit_code_of
from ultralytics_wb_ddp.utils.logging import logger

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from ultralytics_wb_ddp.config.options import RunOptionsDict
    from ultralytics_wb_ddp.runs.guarded_run import GuardedRun


CHECKPOINT, ARGUMENTS, RESULTS = "last.pt", "args.yaml", "results.csv"


@dataclass(frozen=True)
class TrainingState:
    """Says whether a training can be resumed, is over, or has not begun: three cases for a job that is started again.

    ``if state.is_over: state.finish_run()``; else train, with ``resume=state.can_be_resumed``.

    Attributes:
        directory: Directory of the training.
        checkpoint: Its last checkpoint, which need not be there.
        can_be_resumed: Whether Ultralytics can go on from the checkpoint.
        is_over: Whether all of it was trained, or it has stopped early; nothing is left to resume then.
        trained: Number of epochs that were trained, as far as is known.
        epochs: Number of epochs that were asked for; None where it is not known.
        run_id: Id of its run; None where no run is known.
        is_run_open: Whether the run was never brought to its end, because the training was killed before it could.
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
        """Return the state of a training; neither torch nor wandb is imported.

        Args:
            training: Directory of the training, or a checkpoint of it such as ``weights/last.pt``.

        Raises:
            ConfigurationError: Its checkpoint is damaged.
        """
        place = Path(training)
        if place.suffix == ".pt":
            checkpoint = place
            directory = place.parent.parent if place.parent.name == "weights" else place.parent
        else:
            directory, checkpoint = place, place / "weights" / CHECKPOINT
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
            is_run_open=record is not None and record.is_open,
        )

    def __str__(self) -> str:
        """Return the state in words."""
        of_run = f", run {self.run_id}" if self.run_id else ""
        count = f"{self.trained or '?'} of {self.epochs or '?'} epochs{of_run}"
        if self.is_over:
            return f"the training in {self.directory} is over: {count}"
        if self.can_be_resumed:
            return f"the training in {self.directory} can be resumed: {count}"
        return f"there is no training in {self.directory}"

    def finish_run(self, **options: Unpack[RunOptionsDict]) -> bool:
        """Bring the run of a training that is over to its end, if the training was killed before it could.

        The best checkpoint, its metrics and epochs that are missing are logged, and the run is finished. One that is
        open here, such as a manager's, gets the same and is left open. Nothing is done to a run that was closed, to one
        that is not known, and on ranks that are not the main process.

        Args:
            **options: As for ``add_wandb_callback``.

        Returns:
            Whether there was something to do.

        Raises:
            ConfigurationError: An option is wrong, or the training still goes on in another process.
        """
        given = RunOptions.parse(options, "finish_run").with_overrides(
            scope_options((), self.run_id), tuple(name for name, value in options.items() if value is not None)
        )
        if not self.is_over or not is_main_process():
            return False
        record = RunRecord.find(self.directory, self.checkpoint)
        if record is None:
            return False
        from ultralytics_wb_ddp.runs.resolution import reopen_run

        record.check_not_running()
        directory = RunOptions(dir=os.environ.get("WANDB_DIR") or str(self.directory))
        session = reopen_run(record.handoff(), given, directory, only_if_open=not record.is_open)
        if session is None:
            return False
        logger.info("run %s is brought to its end: its training was killed before it could", session.wandb_run.id)
        exit_code = 0
        try:
            session.start(self.directory, record)
            self._log_rest(session, given)
        except BaseException as error:
            exit_code = exit_code_of(error)
            raise
        finally:
            session.close(exit_code)
        return True

    def _log_rest(self, session: GuardedRun, options: RunOptions) -> None:
        """Log what the end of a training logs, as far as it lies on disk."""
        from ultralytics_wb_ddp.artifacts.checkpoints import CheckpointUploader
        from ultralytics_wb_ddp.wandb_client.run_state import get_summary

        rows = _rows(self.directory)
        best = next((row for row in rows if row["epoch"] == session.record.best_epoch), rows[-1] if rows else {})
        metrics = {name: value for name, value in best.items() if name.startswith("metrics/")}
        with session.guard("what was missing at the end of the training"):
            known: dict[str, Any] = {} if session.wandb_run.offline else get_summary(session.wandb_run.summary)
            # Offline it is not known what was logged before, unless that is nothing.
            logged = known.get("epoch", math.inf if session.record.next_step else 0)
            for row in rows:
                if row["epoch"] > logged:
                    session.log({**row, "epoch": int(row["epoch"])}, is_best=False)
            if not any(name.startswith(FINAL_PREFIX) for name in known):
                session.update_summary({f"{FINAL_PREFIX}{name}": value for name, value in metrics.items()})
        past = SimpleNamespace(
            best=self.checkpoint.with_name("best.pt"),
            last=self.checkpoint,
            args=SimpleNamespace(**{**_arguments(self.directory), "save": True}),
            metrics=metrics,
            fitness=None,
            best_fitness=None,
        )
        checkpoints = CheckpointUploader(session, options)
        checkpoints.on_train_end(past)
        trouble = checkpoints.close(past, failed=False)
        if trouble:
            raise trouble


# Helpers
def _read(checkpoint: Path, directory: Path) -> Progress:
    """Return what a checkpoint says, with the number of epochs that stands in the directory if it does not say it.

    Raises:
        ConfigurationError: It is damaged.
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
        return Progress(
            progress.epoch, epochs if isinstance(epochs, int) else None, progress.has_optimizer, progress.trained
        )
    return progress


def _arguments(directory: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load((directory / ARGUMENTS).read_text(encoding="utf-8"))
    except Exception:  # noqa: BLE001  # absent or damaged in any way
        content = None
    return content if isinstance(content, dict) else {}


def _rows(directory: Path) -> list[dict[str, float]]:
    """Return the epochs that Ultralytics has noted, without what is no number."""
    with suppress(Exception):  # absent or damaged: nothing can be brought
        rows = read_results(directory / RESULTS).rows
        return [{name: value for name, value in row.items() if math.isfinite(value)} for row in rows]
    return []


def _last_epoch(directory: Path) -> int:
    return int(max((row["epoch"] for row in _rows(directory)), default=0))
