"""Log checkpoints as model artifacts of the run, in the background.

The main process logs the checkpoint of an epoch when the epoch is over. Every optimizer step needs the gradients of all
ranks, so that all ranks then have the same weights and the same optimizer state.
"""

from __future__ import annotations

import shutil
import tempfile
import time
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.artifacts.checkpoint_metadata import Measurement, checkpoint_metadata, file_sha256, git_state
from ultralytics_wb_ddp.artifacts.model_registry import link_checkpoint
from ultralytics_wb_ddp.artifacts.prune import prune
from ultralytics_wb_ddp.config.names import model_collection, safe_name
from ultralytics_wb_ddp.utils.logging import format_exception, logger
from ultralytics_wb_ddp.utils.threads import BackgroundQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ultralytics_wb_ddp.config.options import RunOptions
    from ultralytics_wb_ddp.runs.guarded_run import GuardedRun


INTERVALS = {"best": 0, "best+last": 10, "all": 1, "none": 0}  # epochs


@dataclass(frozen=True)
class CheckpointPolicy:
    """The choice and the times of the checkpoints that a training logs.

    Attributes:
        last: Whether to log the last checkpoint, with its optimizer state.
        interval: Epochs between two uploads during the training; 0 logs at the end only.
    """

    best: bool
    last: bool
    interval: int

    @classmethod
    def of(cls, options: RunOptions) -> CheckpointPolicy:
        """Return the policy for ``checkpoints`` and ``checkpoint_interval``."""
        mode, interval = options.checkpoints, options.checkpoint_interval
        return cls(mode != "none", mode in {"best+last", "all"}, INTERVALS[mode] if interval is None else interval)

    def aliases(self, epoch: int, *, is_final: bool, is_best: bool) -> tuple[str, ...]:
        """Return the artifact aliases of an epoch's checkpoint; none if it is not due.

        Args:
            epoch: The epoch, counted from 1.
            is_final: Whether the epoch is the last one. The best checkpoint is then logged after the evaluation.
            is_best: Whether the epoch is the best one so far.
        """
        if not is_final and not self._is_due(epoch):
            return ()
        best = ("best",) if self.best and is_best and not is_final else ()
        return (*best, "last", f"epoch-{epoch}") if self.last else best

    def best_is_due(self, epoch: int) -> bool:
        """Return whether the best checkpoint of an earlier epoch is due."""
        return self.best and self._is_due(epoch)

    def _is_due(self, epoch: int) -> bool:
        return self.interval > 0 and epoch % self.interval == 0


class CheckpointUploader:
    """Upload one training's checkpoints in a thread, for which the training waits at its end only.

    The options named ``checkpoint…``, ``link`` and ``finish_timeout`` count.
    """

    def __init__(self, run: GuardedRun, options: RunOptions) -> None:
        self._run = run
        self._policy = CheckpointPolicy.of(options)
        self._timeout = options.finish_timeout
        keep_all = options.checkpoints == "all" and options.checkpoint_keep is None
        self._keep_newest = None if keep_all else options.checkpoint_keep or 0
        self._ttl = options.checkpoint_ttl
        self._store = options.checkpoint_store
        self._link = options.link
        self._uploads = BackgroundQueue("wandb-ddp-checkpoints")
        self._errors: list[Exception] = []
        self._logged: dict[str, str] = {}  # SHA-256 of the file that has an alias, by alias
        self._epoch = 0  # the last epoch whose checkpoint was saved
        self._measured = Measurement()  # of that epoch
        self._best_epoch = 0  # the epoch whose checkpoint was saved as the best one here
        self._last_logged_epoch = 0  # the last epoch whose checkpoint was logged as the last one
        self._newest: Any = None  # the artifact that was logged last
        self._git: dict[str, Any] | None = None

    def after_epoch(self, trainer: Any, epoch: int, measured: Measurement) -> None:
        """Log the checkpoints that are due after an epoch, which the trainer has saved.

        The epoch counts from 1. A repeated epoch is the best checkpoint's evaluation and logs nothing.
        """
        if epoch <= self._epoch or not trainer.args.save:
            return
        self._epoch, self._measured = epoch, measured
        # Ultralytics' own rule for writing best.pt, also for an epoch without a validation.
        is_best = bool(trainer.fitness == trainer.best_fitness)
        if is_best:
            self._best_epoch = epoch
        is_final = bool(trainer.stop) or epoch >= trainer.epochs
        with self._run.guard("a checkpoint") as reachable:
            aliases = self._policy.aliases(epoch, is_final=is_final, is_best=is_best) if reachable else ()
            if "last" in aliases:
                self._last_logged_epoch = epoch
                self._snapshot(Path(trainer.last), aliases, checkpoint_metadata(trainer, epoch, measured))
            elif aliases:
                self._snapshot(Path(trainer.best), aliases, checkpoint_metadata(trainer, epoch, measured))
            if "best" not in aliases and not is_final and self._policy.best_is_due(epoch):
                self._snapshot(Path(trainer.best), ("best",), self._best_metadata(trainer, {}))

    def on_train_end(self, trainer: Any) -> None:
        """Log the best checkpoint after its evaluation."""
        with self._run.guard("the best checkpoint") as reachable:
            if reachable and self._policy.best and trainer.args.save and Path(trainer.best).exists():
                metadata = self._best_metadata(trainer, trainer.metrics)  # of its evaluation
                self._enqueue(Path(trainer.best), ("best",), metadata, link=self._link)

    def _best_metadata(self, trainer: Any, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Return the best checkpoint's metadata; its metrics are gone after its epoch."""
        measured_best = self._run.record.best_epoch
        epoch = self._best_epoch or measured_best or self._epoch or None
        fitness = trainer.best_fitness if epoch and epoch == measured_best else None
        return checkpoint_metadata(trainer, epoch, Measurement(fitness, metrics))

    def close(self, trainer: Any, *, failed: bool) -> Exception | None:
        """Wait ``finish_timeout`` seconds at most for the uploads.

        A training that fails logs its last checkpoint first. With ``on_error="raise"`` the first error of a checkpoint
        is returned.
        """
        if failed and self._policy.last and self._epoch > self._last_logged_epoch:
            with suppress(Exception):  # the training's own error is the one to report
                aliases = ("last", f"epoch-{self._epoch}")
                self._snapshot(Path(trainer.last), aliases, checkpoint_metadata(trainer, self._epoch, self._measured))
        if not self._uploads.is_started:
            return None
        deadline = time.monotonic() + self._timeout
        if self._uploads.drain(self._timeout):
            self._uploads.submit(lambda: self._prune(is_end=True))
            self._uploads.drain(max(0.0, deadline - time.monotonic()))
        else:
            msg = "checkpoints could not be handed to W&B within %g s; they are in %s"
            logger.warning(msg, self._timeout, Path(trainer.last).parent)
        self._uploads.close()
        return self._errors[0] if self._errors else None

    def _snapshot(self, file: Path, aliases: tuple[str, ...], metadata: dict[str, Any]) -> None:
        """Log a copy of a checkpoint, because the training overwrites the file."""
        if not file.exists():
            return
        folder = Path(tempfile.mkdtemp(prefix=".checkpoint-", dir=file.parent))
        try:
            copy = Path(shutil.copyfile(file, folder / file.name))
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._enqueue(copy, aliases, metadata, on_done=lambda: shutil.rmtree(folder, ignore_errors=True))

    def _enqueue(
        self,
        file: Path,
        aliases: tuple[str, ...],
        metadata: dict[str, Any],
        *,
        link: str | None = None,
        on_done: Callable[[], None] = lambda: None,
    ) -> None:
        def job() -> None:
            try:
                with self._run.guard("a checkpoint") as reachable:
                    if reachable:
                        self._run.call(lambda: self._log(file, aliases, metadata))
                        if link:
                            link_checkpoint(self._run.wandb_run, self._newest, link, timeout=self._timeout)
            except Exception as error:  # noqa: BLE001  # raised again in the training's thread
                self._errors.append(error)
            finally:
                on_done()

        self._uploads.submit(job)

    def _log(self, file: Path, aliases: tuple[str, ...], metadata: dict[str, Any]) -> None:
        """Log a file as a version of the run's model artifact, unless it has these aliases already.

        Raises:
            ValueError: The file is no complete checkpoint.
        """
        import wandb

        if not zipfile.is_zipfile(file):  # its table of contents is written last
            epoch = f" of epoch {metadata['epoch']}" if metadata["epoch"] else ""
            msg = f"{file.name}{epoch} is no complete checkpoint ({file.stat().st_size} bytes)"
            raise ValueError(msg)
        digest = file_sha256(file)
        if all(self._logged.get(alias) == digest for alias in aliases):
            return
        if self._git is None:
            self._git = git_state(Path.cwd())
        self._prune()
        metadata = {**metadata, "git": self._git, "size": file.stat().st_size, "sha256": digest}
        run = self._run.wandb_run
        if self._store:
            self._newest = self._store_in_s3(file, aliases, metadata)
        else:
            artifact = wandb.Artifact(model_collection(run.id), type="model", metadata=metadata)
            artifact.add_file(str(file), name=file.name)
            self._newest = self._run.log_artifact(artifact, list(aliases))
        self._logged.update(dict.fromkeys(aliases, digest))

    def _store_in_s3(self, file: Path, aliases: tuple[str, ...], metadata: dict[str, Any]) -> Any:
        from ultralytics_wb_ddp.artifacts.s3_reference import log_s3_reference
        from ultralytics_wb_ddp.artifacts.s3_upload import upload_to_s3

        run = self._run.wandb_run
        s3_path = f"{self._store}/{safe_name(run.id)}/epoch-{metadata['epoch'] or 'unknown'}/{file.name}"
        s3_path = upload_to_s3(file, s3_path, progress=False)
        return log_s3_reference(
            run, s3_path, model_collection(run.id), "model", aliases=aliases, metadata=metadata, strict=True
        )

    def _prune(self, *, is_end: bool = False) -> None:
        """Delete superseded checkpoints from W&B.

        A version takes its aliases when its upload is complete. Only the end of the training waits for that.
        """
        run = self._run.wandb_run
        if self._keep_newest is None or self._newest is None or run.offline or (is_end and len(self._logged) == 1):
            return
        try:
            if is_end:
                self._newest.wait(timeout=self._timeout)
            prune(f"{run.entity}/{run.project}/{run.id}", keep=self._keep_newest, ttl=self._ttl or None)
        except Exception as error:  # noqa: BLE001  # superseded checkpoints harm nothing: the training goes on
            logger.warning("superseded checkpoints of run %s stay at W&B: %s", run.id, format_exception(error))
            self._keep_newest = None
