"""Sends what runs have on disk and the service has not got, with ``wandb sync``.

By itself that sends a session that was cut off in the middle as a whole: from wandb 0.31 on, the rows that had arrived
are there twice then. And it takes the parts of a run of which one names the entity and the other does not for different
runs, and sends them at the same time. Here each part is sent by itself, without the rows that are there.
Its exit code is 0, and it marks the part as sent, also where the server has refused all of it: here W&B is asked what
has arrived.
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


QUIET_WAIT = 2.0  # seconds that may pass without a word
API_TIMEOUT = 30.0  # seconds that the service has to say what has arrived
ARRIVAL_TIMEOUT = 15.0  # seconds that the service has to count what was sent
NO_RUN = "the run itself"
MAX_SHOWN = 5  # files that a message names
ARRIVAL_POLL_INTERVAL = 1.0  # seconds between two looks at what has arrived
RUN = """
query Run($project: String!, $entity: String!, $name: String!) {
  project(name: $project, entityName: $entity) {
    run(name: $name) { id name state historyLineCount historyKeys }
  }
}
"""
APPENDS_SINCE = (0, 31)  # release of wandb; before it, a session is written over what had arrived of it


class SyncError(UserError):
    """A part of a run has not arrived: the message names run, part, what is missing and the remedy."""


@dataclass(frozen=True)
class Arrived:
    """What the service has of a run.

    Attributes:
        exists: Whether it knows the run.
        state: The run's state.
        rows: How many rows it has counted.
        last_step: Step of the last one; -1 for none.
    """

    exists: bool = False
    state: str = ""
    rows: int = 0
    last_step: int = -1


def sync(folders: Sequence[Path]) -> int:
    """Send parts of runs, one after the other.

    Args:
        folders: W&B's directories, ``offline-run-...`` or ``run-...``, the parts of a run in their order.

    Returns:
        The exit code of the ``wandb sync`` that failed, or 0: all of it has arrived.

    Raises:
        FileNotFoundError: A folder does not exist.
        ValueError: A folder does not hold one ``.wandb`` file.
        SyncError: Something has not arrived.
        Trouble: W&B cannot be reached, refuses the key, or does not say what has arrived.
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
    """Send a part and make sure that it arrives; it is marked as sent only then."""
    run = RunAtWandb(part.entity, part.project, part.id)
    before = run.ask()
    mark = part.path.with_name(f"{part.path.name}.synced")
    if mark.exists() and before.exists and before.rows >= len(part.history):
        logger.info("run %s: %s was sent before", part.id, relative_path(folder))
        return 0
    mark.unlink(missing_ok=True)
    arrived = _arrived_rows(folder, part, before)
    with tempfile.TemporaryDirectory() as place:
        source = _copy_without_rows(folder, part, Path(place), arrived) if arrived else folder
        command = [sys.executable, "-m", "wandb", "sync", "--include-online", str(source)]
        with contextlib.suppress(OSError):  # the place may be read-only
            write_json(_attempt_of(part), {"before": before.rows, "arrived": arrived})
        try:
            code = subprocess.run(command, check=False).returncode  # noqa: S603  # wandb itself
        finally:
            mark.unlink(missing_ok=True)  # wandb sets it whatever has become of the part
    if code:
        logger.error("run %s: 'wandb sync' of %s has failed with exit code %d", part.id, relative_path(folder), code)
        return code
    sent = len(part.history) - arrived
    missing = run.missing_rows(before.rows + sent if _server_appends_rows() else sent, sent)
    if missing != [NO_RUN]:
        missing += run.missing_files(part, folder)
    if missing:
        msg = (
            f"run {run.path}: of {relative_path(folder)} W&B has not got {', '.join(missing)}; check that this API key "
            "may write to the project and that nobody has deleted the run, and call this again: the part is still here "
            "and not marked as sent"
        )
        raise SyncError(msg)
    with contextlib.suppress(OSError):
        _attempt_of(part).unlink(missing_ok=True)
        mark.touch()
    return 0


def _attempt_of(part: RecordedRun) -> Path:
    """Return the file that says, until a part has arrived, how many rows W&B had of run and part before it was sent."""
    return part.path.with_name(f"{part.path.name}.sending")


def _arrived_rows(folder: Path, part: RecordedRun, before: Arrived) -> int:
    """Return how many of a part's rows W&B has, which are its first ones.

    Of a session that was online, their steps say it. Of one that was written offline, an earlier attempt to send it
    has noted how many rows there were.
    """
    if not before.exists or not _server_appends_rows():
        return 0
    if is_online_run_dir(folder):
        return sum(row["_step"] <= before.last_step for row in part.history)
    try:
        attempt = json.loads(_attempt_of(part).read_text(encoding="utf-8"))
        come = max(0, before.rows - int(attempt["before"]))
        return min(int(attempt["arrived"]) + come, len(part.history))
    except (OSError, ValueError, KeyError, TypeError):  # there was none
        return 0


class RunAtWandb:
    """A run as the service has it.

    Args:
        entity: Its entity; nothing for the key's own.
        project: Its project.
        run_id: Its id.
    """

    def __init__(self, entity: str, project: str, run_id: str) -> None:
        from ultralytics_wb_ddp.wandb_client.server import VIEWER, find_server

        self._server = find_server(timeout=API_TIMEOUT)
        entity = entity or os.environ.get("WANDB_ENTITY") or ""  # as wandb sync takes it
        entity = entity or (self._server.ask("Viewer", VIEWER).get("viewer") or {}).get("entity") or ""
        self._place = {"project": project, "entity": entity, "name": run_id}
        self.path = f"{entity}/{project}/{run_id}"

    def ask(self) -> Arrived:
        """Return what has arrived of it by now."""
        answer = self._server.ask("Run", RUN, **self._place)
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

    def missing_rows(self, wanted: int, sent: int, last_step: int = -1) -> list[str]:
        """Return what has not arrived when the service has had the time to count: the run, rows, its end.

        Args:
            wanted: How many rows there should be.
            sent: How many of them were sent now.
            last_step: Step of the row that should be the last one.
        """
        deadline = time.monotonic() + ARRIVAL_TIMEOUT
        while True:
            run = self.ask()
            if not run.exists:
                return [NO_RUN]
            missing = []
            if run.rows < wanted:
                missing.append(f"{min(wanted - run.rows, max(sent, 1))} of {sent} rows")
            elif run.last_step < last_step:
                missing.append(f"the rows after step {run.last_step}")
            if run.state in {"running", "pending"}:
                missing.append("the run's end")
            if not missing or time.monotonic() > deadline:
                return missing
            time.sleep(ARRIVAL_POLL_INTERVAL)

    def missing_files(self, part: RecordedRun, folder: Path) -> list[str]:
        """Return which files and artifacts of a part have not arrived."""
        kept = [name for name in part.files if (folder / "files" / name).is_file()]
        digests = _artifacts_of(part)
        if not kept and not digests:
            return []
        try:
            run = find_run(self.path, None)
            files = {file.name: file.size for file in run.files()} if kept else {}
            artifacts = {artifact.digest for artifact in run.logged_artifacts()} if digests else set()
        except Exception as error:  # noqa: BLE001  # of several kinds; the rows have arrived
            logger.warning("run %s: W&B does not say which files have arrived: %s", self.path, format_exception(error))
            return []
        lost = [name for name in kept if not files.get(name) and (folder / "files" / name).stat().st_size]
        lost += [f"artifact {name}" for digest, name in digests.items() if digest not in artifacts]
        return [*lost[:MAX_SHOWN], *([f"{len(lost) - MAX_SHOWN} more"] if len(lost) > MAX_SHOWN else [])]


def _artifacts_of(part: RecordedRun) -> dict[str, str]:
    """Return the names of the artifacts that a part has logged, by their digests."""
    artifacts = [
        record.artifact for record in read_records(part.path) if record.WhichOneof("record_type") == "artifact"
    ]
    return {artifact.digest: artifact.name for artifact in artifacts if not artifact.use_after_commit}


def _wait_until_counted(since: float, run_id: str) -> None:
    """Wait until W&B has counted the rows of a run that were sent until a point in time."""
    seconds = min(since + ROW_COUNT_LAG - time.time(), ROW_COUNT_LAG)
    if seconds > QUIET_WAIT:
        logger.info("waiting %.0f s, until W&B has counted what run %s has sent", seconds, run_id)
    time.sleep(max(0.0, seconds))


def _server_appends_rows() -> bool:
    import wandb

    return version_of(wandb.__version__) >= APPENDS_SINCE


def _copy_without_rows(folder: Path, part: RecordedRun, place: Path, arrived: int) -> Path:
    """Return a copy of a part, in another place, without its first rows."""
    numbers = count()

    def has_arrived(data: bytes) -> bool:
        return is_row(data) and next(numbers) < arrived

    content = part.path.read_bytes()
    copy = place / folder.resolve().name
    copy.mkdir()
    for beside in folder.iterdir():
        if beside.is_dir():
            (copy / beside.name).symlink_to(beside.resolve())
    rest = (data for data in decode_records(content, part.path) if not has_arrived(data))
    (copy / part.path.name).write_bytes(encode_records(content[:HEADER_SIZE], rest))
    return copy
