"""Checkpoints as artifacts of the run: which are due, what is said of them, and how they get to W&B in the background.

A checkpoint of an epoch is taken by the main process when the epoch is over. All ranks have made the same steps of the
optimizer by then, since every step needs the gradients of all of them: weights and optimizer are those of each rank.
"""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.artifacts.checkpoint_metadata import Measurement, checkpoint_metadata, file_sha256, git_state
from ultralytics_wb_ddp.artifacts.model_registry import link_checkpoint
from ultralytics_wb_ddp.config.names import model_collection, safe_name
from ultralytics_wb_ddp.utils.logging import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ultralytics_wb_ddp.config.options import RunOptions
    from ultralytics_wb_ddp.runs.guarded_run import GuardedRun


INTERVALS = {"best": 0, "best+last": 10, "all": 1, "none": 0}  # epochs


@dataclass(frozen=True)
class CheckpointPolicy:
    """Which checkpoints of a training are logged when.

    Attributes:
        best: Whether the best one is.
        last: Whether the last one is, with its optimizer.
        interval: Epochs between two of them while the training goes on; 0 is at its end only.
    """

    best: bool
    last: bool
    interval: int

    @classmethod
    def of(cls, options: RunOptions) -> CheckpointPolicy:
        """Return the policy that options mean."""
        mode, interval = options.checkpoints, options.checkpoint_interval
        return cls(mode != "none", mode in {"best+last", "all"}, INTERVALS[mode] if interval is None else interval)

    def aliases(self, epoch: int, *, is_final: bool, is_best: bool) -> tuple[str, ...]:
        """Return what the checkpoint of an epoch is to be called, and nothing if it is not to be logged.

        Args:
            epoch: The epoch, counted from 1.
            is_final: Whether it is the training's last one; its best checkpoint is logged after the evaluation.
            is_best: Whether it is the best one so far.
        """
        if not is_final and not self._is_due(epoch):
            return ()
        best = ("best",) if self.best and is_best and not is_final else ()
        return (*best, "last", f"epoch-{epoch}") if self.last else best

    def best_is_due(self, epoch: int) -> bool:
        """Return whether the best checkpoint so far, of an earlier epoch, is to be logged if it is new."""
        return self.best and self._is_due(epoch)

    def _is_due(self, epoch: int) -> bool:
        return self.interval > 0 and epoch % self.interval == 0


class CheckpointUploader:
    """Logs the checkpoints of one training from a thread beside it, which the training waits for at its end only.

    Args:
        session: The run that they belong to.
        options: Which of them are wanted.
    """

    def __init__(self, session: GuardedRun, options: RunOptions) -> None:
        self._run = session
        self._policy = CheckpointPolicy.of(options)
        self._timeout = options.finish_timeout
        everything = options.checkpoints == "all" and options.checkpoint_keep is None
        self._keep_newest = None if everything else options.checkpoint_keep or 0
        self._ttl = options.checkpoint_ttl
        self._store = options.checkpoint_store
        self._link = options.link
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._is_handed_over = threading.Event()
        self._errors: list[Exception] = []
        self._logged: dict[str, str] = {}  # SHA-256 of what an alias was given to last
        self._epoch = 0  # the last epoch whose checkpoint was saved
        self._measured = Measurement()  # of that epoch
        self._best_epoch = 0  # the epoch whose checkpoint was saved as the best one here
        self._last_logged_epoch = 0  # the last epoch whose checkpoint was logged as the last one
        self._newest: Any = None  # the artifact that was logged last
        self._git: dict[str, Any] | None = None

    def after_epoch(self, trainer: Any, epoch: int, measured: Measurement) -> None:
        """Log what is due of an epoch that is over and saved.

        Args:
            trainer: The trainer.
            epoch: The epoch, counted from 1; one that was seen before is the best checkpoint's evaluation.
            measured: What the validation of the epoch has found.
        """
        if epoch <= self._epoch or not trainer.args.save:
            return
        self._epoch, self._measured = epoch, measured
        # As Ultralytics decides what it writes, also where an epoch was not validated.
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
                self._snapshot(Path(trainer.best), ("best",), self._facts_of_best(trainer, {}))

    def on_train_end(self, trainer: Any) -> None:
        """Log the best checkpoint of a training that has been evaluated."""
        with self._run.guard("the best checkpoint") as reachable:
            if reachable and self._policy.best and trainer.args.save and Path(trainer.best).exists():
                facts = self._facts_of_best(trainer, trainer.metrics)  # of its evaluation
                self._enqueue(Path(trainer.best), ("best",), facts, link=self._link)

    def _facts_of_best(self, trainer: Any, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is said of the best checkpoint so far; the metrics of its epoch are gone once that is over."""
        measured_best = self._run.record.best_epoch
        epoch = self._best_epoch or measured_best or self._epoch
        fitness = trainer.best_fitness if epoch == measured_best else None
        return checkpoint_metadata(trainer, epoch, Measurement(fitness, metrics))

    def close(self, trainer: Any, *, failed: bool) -> Exception | None:
        """Wait until everything is W&B's, ``finish_timeout`` at most; a training that fails leaves its last checkpoint.

        Returns:
            What went wrong with a checkpoint, with ``on_error="raise"``.
        """
        if failed and self._policy.last and self._epoch > self._last_logged_epoch:
            with suppress(Exception):  # the training has its own trouble
                aliases = ("last", f"epoch-{self._epoch}")
                self._snapshot(Path(trainer.last), aliases, checkpoint_metadata(trainer, self._epoch, self._measured))
        if self._thread is None:
            return None
        self._jobs.put(None)
        deadline = time.monotonic() + self._timeout
        if not self._is_handed_over.wait(self._timeout):
            msg = "checkpoints could not be handed to W&B within %g s; they lie in %s"
            logger.warning(msg, self._timeout, Path(trainer.last).parent)
        self._thread.join(max(0.0, deadline - time.monotonic()))
        return self._errors[0] if self._errors else None

    def _snapshot(self, file: Path, aliases: tuple[str, ...], facts: dict[str, Any]) -> None:
        """Log a checkpoint that the training is going to write over: a copy of it."""
        if not file.exists():
            return
        folder = Path(tempfile.mkdtemp(prefix=".checkpoint-", dir=file.parent))
        try:
            copy = Path(shutil.copyfile(file, folder / file.name))
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._enqueue(copy, aliases, facts, then=lambda: shutil.rmtree(folder, ignore_errors=True))

    def _enqueue(
        self,
        file: Path,
        aliases: tuple[str, ...],
        facts: dict[str, Any],
        *,
        link: str | None = None,
        then: Callable[[], None] = lambda: None,
    ) -> None:
        """Have the thread log a file, and link it to a collection."""

        def job() -> None:
            try:
                with self._run.guard("a checkpoint") as reachable:
                    if reachable:
                        self._log(file, aliases, facts)
                        if link:
                            link_checkpoint(self._run.wandb_run, self._newest, link, timeout=self._timeout)
            except Exception as error:  # noqa: BLE001  # raised again in the training's thread
                self._errors.append(error)
            finally:
                then()

        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="wandb-ddp-checkpoints", daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def _work(self) -> None:
        while job := self._jobs.get():
            job()
        self._is_handed_over.set()
        self._prune(is_end=True)

    def _log(self, file: Path, aliases: tuple[str, ...], facts: dict[str, Any]) -> None:
        """Log a file as a version of the run's model artifact, unless W&B has it under these aliases already.

        Raises:
            ValueError: The file is no complete checkpoint.
        """
        import wandb

        if not zipfile.is_zipfile(file):  # its table of contents is written last
            msg = f"{file.name} of epoch {facts['epoch']} is no complete checkpoint ({file.stat().st_size} bytes)"
            raise ValueError(msg)
        digest = file_sha256(file)
        if all(self._logged.get(alias) == digest for alias in aliases):
            return
        if self._git is None:
            self._git = git_state(Path.cwd())
        self._prune()
        metadata = {**facts, "git": self._git, "size": file.stat().st_size, "sha256": digest}
        run = self._run.wandb_run
        if self._store:
            self._newest = self._store_in_s3(file, aliases, metadata)
        else:
            artifact = wandb.Artifact(model_collection(run.id), type="model", metadata=metadata)
            artifact.add_file(str(file), name=file.name)
            self._newest = run.log_artifact(artifact, aliases=list(aliases))
        self._logged.update(dict.fromkeys(aliases, digest))

    def _store_in_s3(self, file: Path, aliases: tuple[str, ...], metadata: dict[str, Any]) -> Any:
        """Upload a file to S3 and log a reference to it."""
        from ultralytics_wb_ddp.artifacts.s3_reference import log_s3_reference
        from ultralytics_wb_ddp.artifacts.s3_upload import upload_to_s3

        run = self._run.wandb_run
        place = f"{self._store}/{safe_name(run.id)}/epoch-{metadata['epoch']}/{file.name}"
        place = upload_to_s3(file, place, progress=False)
        return log_s3_reference(
            run, place, model_collection(run.id), "model", aliases=aliases, metadata=metadata, strict=True
        )

    def _prune(self, *, is_end: bool = False) -> None:
        """Have W&B give up what has been superseded, in a process of its own: it is slow work for the interpreter.

        A version that is on its way takes its aliases when it has arrived; only the end of the training waits for it.
        """
        run = self._run.wandb_run
        if self._keep_newest is None or self._newest is None or run.offline or (is_end and len(self._logged) == 1):
            return
        command = [sys.executable, "-m", "ultralytics_wb_ddp.cli", "prune", f"{run.entity}/{run.project}/{run.id}"]
        command += ["--keep", str(self._keep_newest), *(["--ttl", str(self._ttl)] if self._ttl else [])]
        environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
        try:
            if is_end:
                self._newest.wait(timeout=self._timeout)
            subprocess.run(  # noqa: S603  # this package's own command
                command, env=environment, capture_output=True, text=True, check=True, timeout=self._timeout
            )
        except Exception as error:  # noqa: BLE001  # W&B keeps more than it should: no reason to do without the rest
            said = str(getattr(error, "stderr", "") or error).strip().splitlines()
            logger.warning("superseded checkpoints of run %s stay at W&B: %s", run.id, said[-1] if said else error)
            self._keep_newest = None
