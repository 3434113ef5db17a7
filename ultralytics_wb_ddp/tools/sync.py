"""Send missing parts of runs with ``wandb sync`` and check their arrival.

``wandb sync`` alone has three faults. It sends an interrupted session as a whole: from wandb 0.31 on, W&B then has the
first rows twice. It treats two parts of a run as different runs if only one part names the entity, and sends the parts
at the same time. It exits with 0 and marks a part as sent even if the server refused all rows. This module therefore
sends each part by itself, leaves out the rows that W&B has, and asks W&B for the result.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from ultralytics_wb_ddp.utils.errors import UserError
from ultralytics_wb_ddp.utils.files import write_json
from ultralytics_wb_ddp.utils.logging import format_exception, logger, relative_path
from ultralytics_wb_ddp.utils.versions import version_of
from ultralytics_wb_ddp.wandb_client.run_file import (
    HEADER_SIZE,
    RecordedRun,
    decode_records,
    encode_records,
    is_row,
    read_records,
    read_run,
)
from ultralytics_wb_ddp.wandb_client.run_state import is_online_run_dir
from ultralytics_wb_ddp.wandb_client.server import ROW_COUNT_LAG, find_run

if TYPE_CHECKING:
    from collections.abc import Sequence


QUIET_WAIT = 2.0  # seconds; a longer wait is logged
API_TIMEOUT = 30.0  # seconds for an answer of the W&B server
ARRIVAL_TIMEOUT = 15.0  # seconds until the W&B server must have counted the rows
NO_RUN = "the run itself"
MAX_SHOWN = 5  # files in a message
ARRIVAL_POLL_INTERVAL = 1.0  # seconds between two queries of the run
RUN = """
query Run($project: String!, $entity: String!, $name: String!) {
  project(name: $project, entityName: $entity) {
    run(name: $name) { id name state historyLineCount historyKeys }
  }
}
"""
APPENDS_SINCE = (0, 31)  # release of wandb; an older release overwrites the rows that have arrived


class SyncError(UserError):
    """Error for a run's part that has not arrived at W&B."""


@dataclass(frozen=True)
class Arrived:
    """State of a run on the W&B server.

    Attributes:
        rows: Number of rows that the server has counted.
        last_step: Step of the last row; -1 without rows.
    """

    exists: bool = False
    state: str = ""
    rows: int = 0
    last_step: int = -1


def sync(folders: Sequence[Path]) -> int:
    """Send parts of runs, one after the other.

    Args:
        folders: W&B's directories, ``offline-run-...`` or ``run-...``, with the parts of a run in their order.

    Returns:
        0 if all parts have arrived, else the exit code of the ``wandb sync`` that failed.

        ServerError: W&B cannot be reached, refuses the API key, or does not answer.
    """
    from ultralytics_wb_ddp.wandb_client.server import require_server

    parts = [(folder, read_run(folder)) for folder in folders]
    require_server()
    for folder, part in parts:
        files = (part.path, _attempt_of(part))
        _wait_until_counted(max(file.stat().st_mtime for file in files if file.exists()), part.id)
        if code := _send(folder, part):
            return code
        if folder is not folders[-1]:
            _wait_until_counted(time.time(), part.id)
    return 0


def _send(folder: Path, part: RecordedRun) -> int:
    """Send a part, and mark it as sent once it has arrived."""
    run = RunAtWandb(part.entity, part.project, part.id)
    previous = run.query()
    synced_file = part.path.with_name(f"{part.path.name}.synced")
    if synced_file.exists() and previous.exists and previous.rows >= len(part.history):
        logger.info("run %s: %s was sent before", part.id, relative_path(folder))
        return 0
    synced_file.unlink(missing_ok=True)
    arrived_count = _arrived_rows(folder, part, previous)
    with tempfile.TemporaryDirectory() as folder_name:
        source = _copy_without_rows(folder, part, Path(folder_name), arrived_count) if arrived_count else folder
        command = [sys.executable, "-m", "wandb", "sync", "--include-online", str(source)]
        with contextlib.suppress(OSError):  # the folder may be read-only
            write_json(_attempt_of(part), {"before": previous.rows, "arrived": arrived_count})
        try:
            code = subprocess.run(command, check=False).returncode  # noqa: S603  # wandb itself
        finally:
            synced_file.unlink(missing_ok=True)  # wandb creates the file even if the server refused the part
    if code:
        logger.error("run %s: 'wandb sync' of %s has failed with exit code %d", part.id, relative_path(folder), code)
        return code
    sent_count = len(part.history) - arrived_count
    missing = run.missing_rows(previous.rows + sent_count if _server_appends_rows() else sent_count, sent_count)
    if missing != [NO_RUN]:
        missing += run.missing_files(part, folder)
    if missing:
        msg = (
            f"run {run.path}: of {relative_path(folder)} W&B has not got {', '.join(missing)}; check that this API key "
            "may write to the project and that the run was not deleted, and call this again: the part is still here "
            "and not marked as sent"
        )
        raise SyncError(msg)
    with contextlib.suppress(OSError):
        _attempt_of(part).unlink(missing_ok=True)
        synced_file.touch()
    return 0


def _attempt_of(part: RecordedRun) -> Path:
    """Return the file with W&B's row counts from before the part was sent."""
    return part.path.with_name(f"{part.path.name}.sending")


def _arrived_rows(folder: Path, part: RecordedRun, previous: Arrived) -> int:
    """Return the number of the part's first rows that W&B has.

    For an online session, the steps of the rows give the number. For an offline session, the file of the previous
    attempt gives the number.
    """
    if not previous.exists or not _server_appends_rows():
        return 0
    if is_online_run_dir(folder):
        return sum(row["_step"] <= previous.last_step for row in part.history)
    try:
        attempt = json.loads(_attempt_of(part).read_text(encoding="utf-8"))
        new_rows = max(0, previous.rows - int(attempt["before"]))
        return min(int(attempt["arrived"]) + new_rows, len(part.history))
    except (OSError, ValueError, KeyError, TypeError):  # there was no previous attempt
        return 0


class RunAtWandb:
    """A run on the W&B server.

    Args:
        entity: Entity of the run; empty for the default entity of the API key.
    """

    def __init__(self, entity: str, project: str, run_id: str) -> None:
        from ultralytics_wb_ddp.wandb_client.server import VIEWER, find_server

        self._server = find_server(timeout=API_TIMEOUT)
        entity = entity or os.environ.get("WANDB_ENTITY") or ""  # as wandb sync takes it
        entity = entity or (self._server.ask("Viewer", VIEWER).get("viewer") or {}).get("entity") or ""
        self._query_variables = {"project": project, "entity": entity, "name": run_id}
        self.path = f"{entity}/{project}/{run_id}"

    def query(self) -> Arrived:
        """Return the current state of the run on the server."""
        answer = self._server.ask("Run", RUN, **self._query_variables)
        run = (answer.get("project") or {}).get("run")
        if not run:
            return Arrived()
        last_step = (run.get("historyKeys") or {}).get("lastStep", -1)
        return Arrived(
            exists=True,
            state=str(run.get("state")),
            rows=int(run.get("historyLineCount") or 0),
            last_step=int(last_step),
        )

    def missing_rows(self, expected: int, sent_count: int, last_step: int = -1) -> list[str]:
        """Return descriptions of the missing run, rows or run end.

        The method waits up to ``ARRIVAL_TIMEOUT`` seconds until the server has counted the rows.
        """
        deadline = time.monotonic() + ARRIVAL_TIMEOUT
        while True:
            run = self.query()
            if not run.exists:
                return [NO_RUN]
            missing = []
            if run.rows < expected:
                missing.append(f"{min(expected - run.rows, max(sent_count, 1))} of {sent_count} rows")
            elif run.last_step < last_step:
                missing.append(f"the rows after step {run.last_step}")
            if run.state in {"running", "pending"}:
                missing.append("the run's end")
            if not missing or time.monotonic() > deadline:
                return missing
            time.sleep(ARRIVAL_POLL_INTERVAL)

    def missing_files(self, part: RecordedRun, folder: Path) -> list[str]:
        """Return the names of a part's missing files and artifacts."""
        file_names = [name for name in part.files if (folder / "files" / name).is_file()]
        digests = _artifacts_of(part)
        if not file_names and not digests:
            return []
        try:
            run = find_run(self.path, None)
            files = {file.name: file.size for file in run.files()} if file_names else {}
            artifacts = {artifact.digest for artifact in run.logged_artifacts()} if digests else set()
        except Exception as error:  # noqa: BLE001  # wandb raises several classes; the rows have arrived
            logger.warning("run %s: W&B does not say which files have arrived: %s", self.path, format_exception(error))
            return []
        missing = [name for name in file_names if not files.get(name) and (folder / "files" / name).stat().st_size]
        missing += [f"artifact {name}" for digest, name in digests.items() if digest not in artifacts]
        return [*missing[:MAX_SHOWN], *([f"{len(missing) - MAX_SHOWN} more"] if len(missing) > MAX_SHOWN else [])]


def _artifacts_of(part: RecordedRun) -> dict[str, str]:
    artifacts = [
        record.artifact for record in read_records(part.path) if record.WhichOneof("record_type") == "artifact"
    ]
    return {artifact.digest: artifact.name for artifact in artifacts if not artifact.use_after_commit}


def _wait_until_counted(since: float, run_id: str) -> None:
    """Wait until W&B has counted the rows of a run that were sent at a time, in seconds since 1970."""
    seconds = min(since + ROW_COUNT_LAG - time.time(), ROW_COUNT_LAG)
    if seconds > QUIET_WAIT:
        logger.info("waiting %.0f s, until W&B has counted what run %s has sent", seconds, run_id)
    time.sleep(max(0.0, seconds))


def _server_appends_rows() -> bool:
    import wandb

    return version_of(wandb.__version__) >= APPENDS_SINCE


def _copy_without_rows(folder: Path, part: RecordedRun, parent: Path, arrived_count: int) -> Path:
    numbers = count()

    def has_arrived(data: bytes) -> bool:
        return is_row(data) and next(numbers) < arrived_count

    content = part.path.read_bytes()
    copy = parent / folder.resolve().name
    copy.mkdir()
    for entry in folder.iterdir():
        if entry.is_dir():
            (copy / entry.name).symlink_to(entry.resolve())
    rest = (data for data in decode_records(content, part.path) if not has_arrived(data))
    (copy / part.path.name).write_bytes(encode_records(content[:HEADER_SIZE], rest))
    return copy
