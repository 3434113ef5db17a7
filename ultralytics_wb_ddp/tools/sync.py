"""Send what W&B lacks of runs on this disk, and check its arrival.

``wandb sync`` alone sends a session as a whole, also rows that W&B has already. It sends the parts of a run at the same
time, replaces the run's summary and its state by those of the part, and waits for an unreachable server without end.
It exits with 0 and marks a part as sent even if the server refused all rows. This module therefore compares the rows on
disk with those at W&B, sends the missing ones in their order, one session after the other, and asks W&B for the result.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from ultralytics_wb_ddp.distributed.signals import SIGTERM_EXIT_CODE
from ultralytics_wb_ddp.runs.journal import Session, find_sessions, record
from ultralytics_wb_ddp.utils.errors import UserError
from ultralytics_wb_ddp.utils.logging import format_exception, logger, pluralize, relative_path
from ultralytics_wb_ddp.utils.versions import version_of
from ultralytics_wb_ddp.wandb_client.run_file import (
    RecordedRun,
    read_records,
    read_run,
    read_summary,
    rewrite_run_file,
)
from ultralytics_wb_ddp.wandb_client.run_state import is_online_run_dir
from ultralytics_wb_ddp.wandb_client.server import (
    ROW_COUNT_LAG,
    ServerError,
    find_run,
    find_server,
    require_server,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


QUIET_WAIT = 2.0  # seconds; a longer wait is logged
API_TIMEOUT = 30.0  # seconds for an answer of the W&B server
ARRIVAL_TIMEOUT = 15.0  # seconds until the W&B server must have counted the rows
ARRIVAL_POLL_INTERVAL = 1.0  # seconds between two queries of the run
SERVER_POLL_INTERVAL = 10.0  # seconds between two checks of the server during 'wandb sync'
SENDING_TIMEOUT = 60.0  # seconds to wait for a service process that still sends data of a killed process
LIVE_FILE_AGE = 60.0  # seconds; a run that is open on another host is written every 15 s
OUTAGE_TIMEOUT = 60.0  # seconds without an answer of the server, after which 'wandb sync' is ended
NO_RUN = "the run itself"
MAX_SHOWN = 5  # files in a message
LIVE_STATES = {"running", "pending", "preempting", "crashed"}  # W&B's states of a run without an end
RUN_VARIABLES = {"WANDB_SERVICE", "WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_MODE"}  # of the process that calls this
RUN = """
query Run($project: String!, $entity: String!, $name: String!) {
  project(name: $project, entityName: $entity) {
    run(name: $name) { id name state historyLineCount historyKeys summaryMetrics config }
  }
}
"""
LOCK_FILE = "wandb_sync.lock"  # in the folder of a run's first session, while its data is sent
SHIFTS_STEPS_SINCE = (0, 31)  # release of wandb that adds the steps at W&B to those of an offline session


class SyncError(UserError):
    """Error for data of a run that has not arrived at W&B.

    The message names the run, the missing rows or files, and the remedy.
    """


@dataclass(frozen=True)
class Arrived:
    """State of a run on the W&B server.

    Attributes:
        exists: Whether the server has the run.
        state: W&B's state of the run.
        rows: Number of rows that the server has counted.
        last_step: Step of the last row; -1 without rows.
        summary: The run's summary.
        config_keys: Keys of the run's config.
    """

    exists: bool = False
    state: str = ""
    rows: int = 0
    last_step: int = -1
    summary: Mapping[str, Any] = field(default_factory=dict)
    config_keys: frozenset[str] = frozenset()

    @property
    def has_ended(self) -> bool:
        """Whether a session has ended the run."""
        return self.exists and self.state not in LIVE_STATES


@dataclass
class Part:
    """The data of one session on this disk.

    Attributes:
        session: The session.
        run: The content of its ``.wandb`` file.
        missing: Numbers of the rows that W&B lacks.
        missing_artifacts: Digests of the logged artifacts and of the inputs that W&B lacks.
        lacks_other: Whether W&B lacks a file or an artifact of the session.
    """

    session: Session
    run: RecordedRun
    missing: set[int] = field(default_factory=set)
    missing_artifacts: set[str] = field(default_factory=set)
    lacks_other: bool = False

    @property
    def folder(self) -> Path:
        """W&B's folder of the session."""
        return self.session.folder

    @cached_property
    def artifacts(self) -> dict[str, str]:
        """Descriptions of the logged artifacts and of the inputs, by digest."""
        return {each.digest: f"{'input' if each.is_input else 'artifact'} {each.name}" for each in self.run.artifacts}

    @cached_property
    def kept_files(self) -> dict[str, int]:
        """Sizes of the files that the session has saved and that are still here, by name."""
        files = {name: self.folder / "files" / name for name in self.run.files}
        return {name: file.stat().st_size for name, file in files.items() if file.is_file()}

    def missing_files(self, stored: Mapping[str, int]) -> list[str]:
        """Return the names of the files that W&B has not got.

        Args:
            stored: Sizes of the files at W&B, by name.
        """
        return [name for name, size in self.kept_files.items() if size and not stored.get(name)]

    @property
    def mark(self) -> Path:
        """The file by which W&B marks a sent session."""
        return self.run.path.with_name(f"{self.run.path.name}.synced")

    @property
    def attempt(self) -> Path:
        """The file whose time is that of the last attempt to send."""
        return self.run.path.with_name(f"{self.run.path.name}.sending")


def sync(paths: Sequence[Path]) -> int:
    """Send what W&B lacks of the runs that paths lead to.

    Nothing is sent twice, so the function may be called again at any time.

    Args:
        paths: Training directories, W&B's folders of sessions (``offline-run-...``, ``run-...``), or directories that
            hold such folders, in any order. Each leads to all sessions of its runs on this machine.

    Returns:
        0 if all data has arrived, else the exit code of the ``wandb sync`` that failed.

    Raises:
        FileNotFoundError: A path does not exist.
        ValueError: A path leads to no ``.wandb`` file.
        SyncError: A process still logs to a run; or rows, files or artifacts have not arrived.
        ServerError: W&B cannot be reached, refuses the API key, or does not answer.
    """
    runs: dict[str, dict[Path, Part]] = {}
    for path in paths:
        sessions = find_sessions([path])
        if not sessions:
            read_run(path)  # the error names the path and the folders that are expected
        for session in sessions:
            part = Part(session, read_run(session.folder))
            if part.run.id:
                runs.setdefault(session.id, {}).setdefault(session.folder, part)
            else:
                msg = "%s holds no data: its process was killed before W&B's client wrote any; there is nothing to send"
                logger.info(msg, relative_path(session.folder))
    if not runs:
        return 0
    require_server()
    for parts in runs.values():
        in_order = sorted(parts.values(), key=lambda part: part.session.order)
        _check_not_live(in_order)
        with _only_sender(in_order[0].folder, in_order[0].run.id):
            code = _send_run(in_order)
        if code:
            return code
    return 0


@contextlib.contextmanager
def _only_sender(folder: Path, run_id: str) -> Iterator[None]:
    """Wait in a ``with`` statement until no other process sends data of the run, such as a service process.

    Args:
        folder: Folder of the run's first session on this machine.
        run_id: Id of the run.
    """
    lock = FileLock(folder / LOCK_FILE)
    with contextlib.suppress(OSError):  # the folder is read-only, so its data cannot be marked as sent either
        try:
            lock.acquire(blocking=False)
        except Timeout:
            logger.info("run %s: another process sends its data; this one waits for it", run_id)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _send_run(parts: list[Part]) -> int:
    """Send the missing data of one run.

    Args:
        parts: All parts of the run on this machine, in their order.

    Returns:
        0, or the exit code of the ``wandb sync`` that failed.
    """
    files = [file for part in parts for file in (part.run.path, part.attempt) if file.exists()]
    _wait_until_counted(max(file.stat().st_mtime for file in files), parts[-1].run.id)
    run = RunAtWandb.of_parts(parts)
    arrived = run.query()
    run.find_missing(parts, arrived)
    unsent = [part for part in parts if part.missing or part.lacks_other or not arrived.exists]
    if not arrived.has_ended and parts[-1] not in unsent:
        unsent.append(parts[-1])  # W&B lacks the run's end
    if not unsent:
        logger.info("run %s: %s was sent before", run.path, _describe(parts))
    for part in unsent:
        if code := _send(part, run, parts):
            return code
    if unsent and (missing := _missing_after_lag(run, parts)):
        msg = (
            f"run {run.path}: of {_describe(parts)} W&B has not got {', '.join(missing)}; check that this API key "
            "may write to the project and that the run was not deleted, and call this again: the data is still here "
            "and not marked as sent"
        )
        raise SyncError(msg)
    for part in parts:
        with contextlib.suppress(OSError):  # the folder may be read-only
            part.attempt.unlink(missing_ok=True)
            part.mark.touch()
        record([part.folder], part.folder, is_sent=True)
    return 0


def _check_not_live(parts: list[Part]) -> None:
    """Refuse a run that a process of this machine still logs to. Wait for one that only sends.

    Raises:
        SyncError: A process still logs to the run.
    """
    for part in parts:
        if pid := part.session.live_pid:
            msg = (
                f"run {part.run.id}: process {pid} still logs to {relative_path(part.folder)}; call this again when "
                f"the process has ended, or after 'kill {pid}'"
            )
            raise SyncError(msg)
        age = time.time() - part.run.path.stat().st_mtime
        if part.session.is_open_elsewhere and age < LIVE_FILE_AGE:
            msg = (
                f"run {part.run.id}: a process of host {part.session.host!r} still logs to "
                f"{relative_path(part.folder)}, which was written {age:.0f} s ago; call this again when it has ended"
            )
            raise SyncError(msg)
    deadline = time.monotonic() + SENDING_TIMEOUT
    while any(part.session.is_being_sent for part in parts) and time.monotonic() < deadline:
        time.sleep(ARRIVAL_POLL_INTERVAL)


def _send(part: Part, run: RunAtWandb, parts: list[Part]) -> int:
    """Send the missing data of a part with ``wandb sync``."""
    arrived = run.query()
    end = End.of_run(arrived, part, parts)
    part.mark.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        part.attempt.touch()
    with tempfile.TemporaryDirectory() as folder_name:
        code = _run_wandb_sync(_copy_missing(part, arrived, end, Path(folder_name)), run)
    if code:
        logger.error(
            "run %s: 'wandb sync' of %s has failed with exit code %d", run.path, relative_path(part.folder), code
        )
    elif part is not parts[-1]:
        _wait_until_counted(time.time(), part.run.id)
    return code


def _run_wandb_sync(folder: Path, run: RunAtWandb) -> int:
    """Call ``wandb sync``, and end it where it would wait without end.

    Raises:
        ServerError: The server has not answered for ``OUTAGE_TIMEOUT`` seconds.
        SyncError: It answers, but does not take the run, for as long.
    """
    command = [sys.executable, "-m", "wandb", "sync", "--include-online", str(folder)]
    # With this variable W&B's client appends to a run that exists, also without 'resume' in the session itself.
    environment = {name: value for name, value in os.environ.items() if name not in RUN_VARIABLES}
    environment["WANDB_RESUME"] = "allow"
    begun = last_answer = time.monotonic()
    with subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL) as process:  # noqa: S603  # wandb itself
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.wait(SERVER_POLL_INTERVAL)
                try:
                    arrived = run.query()
                    last_answer = time.monotonic()
                    if not arrived.exists and last_answer - begun > OUTAGE_TIMEOUT:
                        msg = (
                            f"run {run.path}: W&B has not taken the run for {OUTAGE_TIMEOUT:.0f} s; check that this "
                            "API key may write to the project, and call this again: the data is still here"
                        )
                        raise SyncError(msg)
                except ServerError:
                    if time.monotonic() - last_answer > OUTAGE_TIMEOUT:
                        raise
        finally:
            process.kill()


def missing_data(folder: Path) -> list[str]:
    """Return descriptions of the data of a run that W&B has not got. W&B counts rows some seconds late.

    Args:
        folder: W&B's folder of one of the run's sessions.
    """
    parts = [Part(session, read_run(session.folder)) for session in find_sessions([folder])]
    parts = [part for part in parts if part.run.id]  # the disk may have been full when a session was opened
    return _missing_after_lag(RunAtWandb.of_parts(parts), parts)


def _missing_after_lag(run: RunAtWandb, parts: Sequence[Part]) -> list[str]:
    deadline = time.monotonic() + ARRIVAL_TIMEOUT
    while True:
        arrived = run.query()
        if not arrived.exists:
            return [NO_RUN]
        missing = run.find_missing(parts, arrived)
        if not arrived.has_ended:
            missing.append("the run's end")
        if not missing or time.monotonic() > deadline:
            return missing
        time.sleep(ARRIVAL_POLL_INTERVAL)


def _describe(parts: list[Part]) -> str:
    others = len(parts) - 1
    more = f" and {others} other session{'' if others == 1 else 's'}" if others else ""
    return f"{relative_path(parts[-1].folder)}{more}"


class RunAtWandb:
    """A run on the W&B server.

    Args:
        entity: Entity of the run; empty for the default entity of the API key.
        project: Project of the run.
        run_id: Id of the run.
    """

    def __init__(self, entity: str, project: str, run_id: str) -> None:
        self._server = find_server(timeout=API_TIMEOUT)
        entity = entity or os.environ.get("WANDB_ENTITY") or ""  # as wandb sync takes it
        entity = entity or self._server.default_entity()
        self._query_variables = {"project": project, "entity": entity, "name": run_id}
        self.path = f"{entity}/{project}/{run_id}"

    @classmethod
    def of_parts(cls, parts: Sequence[Part]) -> RunAtWandb:
        """Return the run of its parts. An offline session may not name the entity."""
        entity = next((part.run.entity for part in parts if part.run.entity), "")
        project = next((part.run.project for part in parts if part.run.project), "")
        return cls(entity, project, parts[-1].run.id)

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
            summary=json.loads(run.get("summaryMetrics") or "{}"),
            config_keys=frozenset(json.loads(run.get("config") or "{}")),
        )

    def find_missing(self, parts: Sequence[Part], arrived: Arrived) -> list[str]:
        """Find the data of parts that the server lacks, and note it in the parts.

        Args:
            parts: The parts of the run, in their order.
            arrived: The state of the run on the server.

        Returns:
            Descriptions of the missing rows, files and artifacts.
        """
        has_rows = arrived.rows or arrived.last_step >= 0
        there = Counter(map(row_key, self._rows() if has_rows else ()))
        epochs: set[str] = set()
        for part in parts:
            part.missing = set()
            for number, row in enumerate(part.run.history):
                key = row_key(row)
                if "epoch" in row and key in epochs:
                    continue  # a training logs the row of an epoch again if it may not have been written
                epochs.add(key)
                if there[key]:
                    there[key] -= 1
                else:
                    part.missing.add(number)
        files, artifacts = self._stored(parts) if arrived.exists else ({}, set())
        names: list[str] = []
        for part in parts:
            part.missing_artifacts = set() if artifacts is None else part.artifacts.keys() - artifacts
            part_names = [] if files is None else part.missing_files(files)
            part_names += [part.artifacts[digest] for digest in sorted(part.missing_artifacts)]
            part.lacks_other = bool(part_names)
            names += part_names
        count, total = sum(len(part.missing) for part in parts), sum(len(part.run.history) for part in parts)
        rows = [pluralize(f"{count} of {total}", "row")] if count else []
        shown = [*names[:MAX_SHOWN], *([f"{len(names) - MAX_SHOWN} more"] if len(names) > MAX_SHOWN else [])]
        return [*rows, *shown]

    def _rows(self) -> list[dict[str, Any]]:
        """Return all rows of the run on the server.

        Raises:
            SyncError: The server does not return them.
        """
        try:
            return list(find_run(self.path, None).scan_history())
        except Exception as error:
            msg = (
                f"run {self.path}: W&B does not return the rows that it has ({format_exception(error)}), so it is not "
                "known which are missing; call this again later"
            )
            raise SyncError(msg) from error

    def _stored(self, parts: Sequence[Part]) -> tuple[dict[str, int] | None, set[str] | None]:
        """Return the sizes of the run's files by name, and its artifacts' and inputs' digests; None if not known."""
        if not any(part.kept_files or part.artifacts for part in parts):
            return {}, set()
        try:
            run = find_run(self.path, None)
            files = {file.name: file.size for file in run.files()}
            return files, {artifact.digest for artifact in (*run.logged_artifacts(), *run.used_artifacts())}
        except Exception as error:  # noqa: BLE001  # wandb raises several classes; the rows have arrived
            logger.warning("run %s: W&B does not say which files have arrived: %s", self.path, format_exception(error))
            return None, None


@dataclass(frozen=True)
class End:
    """The end of a run, as the sent part gives it.

    Attributes:
        exit_code: Exit code of the run.
        is_preempted: Whether the run's machine was taken away.
        is_own: Whether the part is the newest session of the run, so that its end, config and summary win.
    """

    exit_code: int
    is_preempted: bool = False
    is_own: bool = True

    @classmethod
    def of_run(cls, arrived: Arrived, part: Part, parts: Sequence[Part]) -> End:
        """Return the end that the run has to have after a part is sent.

        A run that has ended at W&B keeps its end, unless the part is the newest session, was written offline and was
        not sent yet: then W&B cannot know the end.

        Args:
            arrived: The state of the run on the server.
            part: The part to send.
            parts: All parts of the run on this machine, in their order.
        """
        last = parts[-1]
        code = last.run.exit_code if last.run.exit_code is not None else last.session.exit_code
        code = 1 if code is None else code  # the process was killed
        is_unknown = not is_online_run_dir(last.folder) and last.session.is_sent is not True
        is_own = part is last and (is_unknown or not arrived.has_ended)
        if is_own or not arrived.has_ended:
            return cls(code, _is_preempted(last.run) or last.session.is_preempted, is_own)
        if arrived.state == "finished":
            return cls(0, is_own=False)
        if arrived.state == "preempted":
            return cls(code or SIGTERM_EXIT_CODE, is_preempted=True, is_own=False)
        return cls(code or 1, is_own=False)


def _is_preempted(run: RecordedRun) -> bool:
    return any(item.WhichOneof("record_type") == "preempting" for item in read_records(run.path))


def row_key(row: Mapping[str, Any]) -> str:
    """Return what identifies a row on disk and at W&B: its names and plain values.

    W&B's own values, such as the step, differ between both. So may the form of charts, images and tables.

    Args:
        row: A row of the history.
    """
    plain = dict(sorted(_plain_values("", row)))
    return json.dumps(plain or sorted(key for key in row if not key.startswith("_")))


def _plain_values(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if not prefix and key.startswith("_"):
            continue
        if isinstance(value, dict):
            if "_type" not in value:  # W&B marks charts, images and tables so
                yield from _plain_values(f"{prefix}{key}.", value)
        elif isinstance(value, float) and not math.isfinite(value):
            yield f"{prefix}{key}", {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield f"{prefix}{key}", repr(float(value))
        elif isinstance(value, (str, bool)):
            yield f"{prefix}{key}", str(value)


def _wait_until_counted(since: float, run_id: str) -> None:
    """Wait until W&B has counted the rows of a run.

    Args:
        since: Time at which the last rows were sent, in seconds since 1970.
        run_id: Id of the run, for the log.
    """
    seconds = min(since + ROW_COUNT_LAG - time.time(), ROW_COUNT_LAG)
    if seconds > QUIET_WAIT:
        logger.info("waiting %.0f s, until W&B has counted what run %s has sent", seconds, run_id)
    time.sleep(max(0.0, seconds))


def _copy_missing(part: Part, arrived: Arrived, end: End, parent: Path) -> Path:
    """Copy a part without the rows that W&B has, with the end and the summary that the run has to have."""
    copy = parent / part.folder.resolve().name
    copy.mkdir()
    for entry in part.folder.iterdir():
        if entry.is_dir():
            (copy / entry.name).symlink_to(entry.resolve())
    content = rewrite_run_file(
        part.run.path,
        rows=part.missing,
        first_step=_first_step(part, arrived),
        artifacts=part.missing_artifacts if arrived.exists else None,
        kept_config=frozenset() if end.is_own else arrived.config_keys,
        summary=_merged_summary(arrived.summary, read_summary(part.run.path), is_newer=end.is_own)
        if arrived.exists
        else {},
        exit_code=end.exit_code,
        is_preempted=end.is_preempted,
    )
    (copy / part.run.path.name).write_bytes(content)
    return copy


def _first_step(part: Part, arrived: Arrived) -> int | None:
    """Return the step of the first sent row; None keeps the steps."""
    import wandb

    if not arrived.exists or not part.missing:
        return None
    if is_online_run_dir(part.folder):
        first = min(part.run.history[number]["_step"] for number in part.missing)
        return None if first > arrived.last_step else arrived.last_step + 1
    return 0 if version_of(wandb.__version__) >= SHIFTS_STEPS_SINCE else arrived.last_step + 1


def _merged_summary(there: Mapping[str, Any], here: Mapping[str, Any], *, is_newer: bool) -> dict[str, Any]:
    """Return a summary of the values at W&B and of a part. The best values of both are compared.

    Args:
        there: The summary at W&B.
        here: The summary of the part.
        is_newer: Whether the part is newer than what W&B has.
    """
    older, newer = (there, here) if is_newer else (here, there)
    merged = {key: value for key, value in {**older, **newer}.items() if not key.startswith("_")}
    for key in merged.keys() & older.keys() & newer.keys():
        values = older[key], newer[key]
        if all(isinstance(value, dict) and value.keys() in ({"max"}, {"min"}) for value in values):
            (name,) = newer[key]
            known = [value[name] for value in values if isinstance(value.get(name), (int, float))]
            merged[key] = {name: max(known) if name == "max" else min(known)} if known else newer[key]
    return merged
