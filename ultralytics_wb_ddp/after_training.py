"""What a manager does with the results of a training: links, references to S3, downloads."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.decision import which_ranks
from ultralytics_wb_ddp.handoff import next_step_of
from ultralytics_wb_ddp.links import Links
from ultralytics_wb_ddp.log import logger
from ultralytics_wb_ddp.ranks import is_main_process
from ultralytics_wb_ddp.runs import sync_command
from ultralytics_wb_ddp.wrong_use import callbacks_of, has_trained_since, warn_of_nothing_logged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ultralytics_wb_ddp.config import RunOptions, WandbConfig
    from ultralytics_wb_ddp.download import DownloadedRun
    from ultralytics_wb_ddp.handoff import Handoff

__all__ = ["AfterTraining"]


class AfterTraining:
    """The part of :class:`WandbManager` that deals with results."""

    config: WandbConfig
    run: Any
    _last: Handoff | None  # of the run that was opened last
    _options: RunOptions
    _links: Links = Links()
    _expects_since = 0.0  # moment, in seconds since 1970, from which on a training is to be logged
    _is_training_due = False  # whether one was prepared for
    _has_failed = False

    def links(self) -> Links:
        """Return where the run is to be seen, also when it is closed or finished.

        Returns:
            Web addresses of the run, its project, group and sweep, and of each node's run where each has its own; all
            of them are None offline, where ``sync_command`` sends the run, and on a rank that is not the main process.
        """
        return self._links

    def log_s3_artifact(
        self,
        s3_path: str,
        artifact_name: str,
        artifact_type: str = "model",
        *,
        aliases: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        checksum: bool = True,
        max_objects: int = 10_000,
        strict: bool = False,
    ) -> Any:
        """Log an artifact that refers to an object in S3, or to all objects below a prefix, without copying it.

        What it refers to is read first: it must exist, and the reference records size, ETag and, in a versioned
        bucket, the version of each object. Where S3 cannot be asked (no boto3, no credentials, no answer) the
        reference is recorded without them. Anything else that is wrong leaves the run without the artifact. A message
        says so; only with ``strict`` is it an error.

        Args:
            s3_path: ``s3://bucket/key`` of an object or a prefix; ``?versionId=...`` names a version of an object.
            artifact_name: Name of the artifact.
            artifact_type: Type of the artifact.
            aliases: Aliases of the artifact.
            metadata: Metadata of the artifact.
            checksum: Read size, ETag and version. Without, one entry names the place, also where it cannot be read;
                wandb's own download refuses such an entry.
            max_objects: How many objects a prefix may have.
            strict: Raise where the reference cannot be recorded with all that ``checksum`` asks for.

        Returns:
            The ``wandb.Artifact``; None when nothing was recorded.

        Raises:
            S3Error: With ``strict``: there is nothing at the path, or S3 cannot be asked.
            ConfigurationError: With ``strict``: W&B would refuse name, type, alias or metadata.
        """
        if not self._needs_open_run("log_s3_artifact"):
            return None
        from ultralytics_wb_ddp.s3_references import log_s3_reference

        return log_s3_reference(
            self.run,
            s3_path,
            artifact_name,
            artifact_type,
            aliases=aliases,
            metadata=metadata,
            checksum=checksum,
            max_objects=max_objects,
            strict=strict,
        )

    def download_logs(
        self,
        directory: str | os.PathLike[str],
        *,
        format: str = "csv",  # noqa: A002  # as the command's --format
        strict: bool = False,
    ) -> DownloadedRun | None:
        """Download the run: its files, its history as a table, and what was printed.

        Best after :meth:`finish`, also where the manager was used in a ``with`` statement: of a run that is not
        finished W&B has only part, and the console's log comes last. Trouble is a message; only with ``strict`` is it
        an error.

        Args:
            directory: Where to; it is made. What is there of the same name is written over.
            format: ``"csv"`` or ``"parquet"``, of the history.
            strict: Raise where nothing, or not all, can be downloaded.

        Returns:
            What was downloaded; None if nothing was, and on a rank that is not the main process.

        Raises:
            DownloadError: With ``strict``: the directory cannot be written to, the run is not at W&B, or something of
                it could not be downloaded.
        """
        if not is_main_process():
            return None
        from ultralytics_wb_ddp.download import DownloadError, download_run, missing_of

        try:
            done = download_run(self._path_of_run(), directory, format=format, api_key=self.config.api_key)
        except DownloadError as error:
            if strict:
                raise
            logger.warning("logs are not downloaded: %s", error)
            return None
        trouble = missing_of(done)
        if trouble and strict:
            raise DownloadError(trouble)
        if trouble:
            logger.warning("%s", trouble)
        return done

    def _look_for_training(self, before: Handoff) -> None:
        """Say so where a training took place or was prepared for, and the run has got nothing of any.

        In the other modes ranks log to runs of their own, or rows that this process does not see.

        Args:
            before: The record of the run from before the training.
        """
        since, self._expects_since = self._expects_since, time.time()
        is_due, self._is_training_due = self._is_training_due, False
        is_plain = which_ranks(self._options, None, os.environ)[0] == "auto" and not self.run.disabled
        is_logged = before.run_id in callbacks_of or before.was_taken_up() or next_step_of(self.run) > before.next_step
        if is_plain and not is_logged and not self._has_failed and (is_due or has_trained_since(since)):
            warn_of_nothing_logged(before.run_id)

    def _path_of_run(self) -> str:
        """Return where W&B has the run that was opened last."""
        from ultralytics_wb_ddp.download import DownloadError

        run = self._last
        if run is None:
            msg = "there is no run yet; call initialize() first"
        elif run.mode == "online":
            return "/".join(part for part in (run.entity, run.project, run.run_id) if part)
        elif run.mode == "offline" and run.files_dir:
            folder = Path(run.files_dir).parent
            msg = f"run {run.run_id} is on disk only, in {folder}; send it first: {sync_command(folder)}"
        else:
            msg = f"run {run.run_id} is disabled and was never written anywhere; use another mode"
        raise DownloadError(msg)

    def _needs_open_run(self, method: str) -> bool:
        raise NotImplementedError
