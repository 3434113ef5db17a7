"""The journal of a run: its sessions, and the folders that hold their data.

A run may have many sessions: of the launcher, of the workers, after a crash, on another disk. Each process that opens
or ends a session appends a line to the journals that it knows: in the session's own folder, in the training's directory
and in the launcher's folder. So each of these leads to all data of the run on this machine, also after its processes
were killed. The folders' own ``.wandb`` files hold the logged data.
"""

from __future__ import annotations

import glob
import json
import os
import re
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from ultralytics_wb_ddp.config.validation import ConfigurationError, validate
from ultralytics_wb_ddp.distributed.processes import ProcessIdentity
from ultralytics_wb_ddp.utils.files import append_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


JOURNAL_FILE = "wandb_journal.jsonl"
_RUN_DIR = re.compile(r"(?:offline-)?run-\d{8}_\d{6}-(?P<id>.+)")  # W&B's name of a session's folder


@dataclass
class Session:
    """One session of a run, as the journal describes it.

    Attributes:
        folder: W&B's folder with the session's data.
        id: Id of the run.
        mode: ``"online"``, ``"offline"`` or ``"shared"``; None if it is not known.
        host: Name of the host. None if it is not known.
        pid: Id of the process that logs.
        started: Start of that process, in seconds since 1970.
        opened_at: Time at which the session was opened, in seconds since 1970.
        first_step: W&B step of the first row.
        next_step: W&B step after the last row. None until the session ends.
        closed_at: Time at which the session ended, in seconds since 1970. None after a kill.
        exit_code: Exit code of the session.
        is_preempted: Whether the session's machine was taken away.
        is_sent: Whether W&B has all data of the session. None if it is not known.
        service_pid: Id of the service process, which sends after the end of the process that logs.
        service_started: Start of the service process, in seconds since 1970.
    """

    folder: Path
    id: str
    mode: str | None = None
    host: str | None = None
    pid: int | None = None
    started: float = 0.0
    opened_at: float | None = None
    first_step: int = 0
    next_step: int | None = None
    closed_at: float | None = None
    exit_code: int | None = None
    is_preempted: bool = False
    is_sent: bool | None = None
    service_pid: int | None = None
    service_started: float = 0.0

    @property
    def order(self) -> tuple[str, float]:
        """Key to sort the sessions of a run by: the time in the folder's name, then the time of opening."""
        return self.folder.name.partition("run-")[2], self.opened_at or 0.0

    @property
    def live_pid(self) -> int | None:
        """Id of the process of this host that still logs; None without one."""
        is_live = self.closed_at is None and self._is_alive(self.pid, self.started)
        return self.pid if is_live else None

    @property
    def is_being_sent(self) -> bool:
        """Whether the service process still runs, which may send data."""
        return self.service_pid != self.pid and self._is_alive(self.service_pid, self.service_started)

    @property
    def is_open_elsewhere(self) -> bool:
        """Whether a process of another host has opened the session and not ended it."""
        return self.closed_at is None and self.host not in {None, socket.gethostname()}

    @property
    def may_be_unsent(self) -> bool:
        """Whether W&B may lack data of the session."""
        return self.is_sent is not True and not any(self.folder.glob("*.synced"))

    @property
    def is_cut_off(self) -> bool:
        """Whether the session is known to have ended without sending all data, or was killed with its service process.

        W&B itself ends the session of a run that the user opened, and the journal does not learn of it.
        """
        is_killed = self.service_pid is not None and self.closed_at is None and not self.is_being_sent
        return self.may_be_unsent and not self.live_pid and (self.is_sent is False or is_killed)

    def _is_alive(self, pid: int | None, started: float) -> bool:
        if pid is None or self.host is None:
            return False
        process = ProcessIdentity(self.host, pid, started)
        return process.is_of_this_host and process.is_alive()


def record_opening(
    journals: Iterable[Path], folder: Path, run_id: str, *, mode: str, first_step: int, service_pid: int | None = None
) -> None:
    """Record a session of this process that has been opened.

    Args:
        journals: Directories of the journals.
        folder: W&B's folder of the session.
        run_id: Id of the run.
        mode: Mode of the session.
        first_step: W&B step of the first row.
        service_pid: Id of the service process, if the session has one.
    """
    facts: dict[str, Any] = {"id": run_id, "mode": mode, "first_step": first_step, "opened_at": time.time()}
    facts |= asdict(ProcessIdentity.of_this_process())
    with suppress(psutil.Error):
        if service_pid:
            facts |= {"service_pid": service_pid, "service_started": psutil.Process(service_pid).create_time()}
    record(journals, folder, **facts)


def record_end(
    journals: Iterable[Path],
    folder: Path,
    *,
    exit_code: int,
    next_step: int,
    is_sent: bool | None,
    is_preempted: bool = False,
) -> None:
    """Record the end of a session.

    Args:
        journals: Directories of the journals.
        folder: W&B's folder of the session.
        exit_code: Exit code of the session.
        next_step: W&B step after the last row.
        is_sent: Whether W&B has all data of the session; None if it is not known.
        is_preempted: Whether the session's machine was taken away.
    """
    end = {"exit_code": exit_code, "next_step": next_step, "is_preempted": is_preempted, "closed_at": time.time()}
    record(journals, folder, **end, is_sent=is_sent)


def record(journals: Iterable[Path], folder: Path, **facts: Any) -> None:
    """Append facts about a session to journals. A journal that cannot be written is left out.

    Args:
        journals: Directories of the journals.
        folder: W&B's folder of the session.
        **facts: Attributes of :class:`Session`.
    """
    folder = folder.absolute()
    for directory in dict.fromkeys(journal.absolute() for journal in journals):
        # A path below the directory stays true if the directory is moved.
        place = folder.relative_to(directory) if folder.is_relative_to(directory) else folder
        with suppress(OSError):
            append_line(directory / JOURNAL_FILE, json.dumps({"folder": str(place), **facts}))


def read_journal(directory: Path) -> list[Session]:
    """Return the sessions that a directory's journal describes, in the order of their first lines.

    Lines that a crash has cut off are left out.

    Args:
        directory: A training's directory or a session's folder.
    """
    sessions: dict[Path, dict[str, Any]] = {}
    for line in _lines(directory / JOURNAL_FILE):
        with suppress(ValueError, TypeError, KeyError):
            facts = json.loads(line)
            folder = Path(os.path.normpath(directory.absolute() / facts.pop("folder")))
            sessions.setdefault(folder, {}).update(facts)
    described: list[Session] = []
    for folder, facts in sessions.items():
        run_id = facts.get("id") or run_id_of(folder)
        if run_id:
            with suppress(ConfigurationError):  # the line is damaged
                described.append(validate(Session, {**facts, "folder": folder, "id": str(run_id)}))
    return described


def find_sessions(paths: Iterable[Path]) -> list[Session]:
    """Return all sessions that paths lead to, in the order in which they were opened.

    Journals and the names of W&B's folders are followed to further folders of this machine. A path to a session's
    folder leads to sessions of its run only.

    Args:
        paths: Training directories, folders of sessions, ``.wandb`` files, or directories that hold W&B's folders.
    """
    found: dict[Path, Session] = {}
    for path in paths:
        start = path.parent if path.is_file() else path
        run_id = run_id_of(start.resolve())
        for session in _reachable(start.resolve()):
            if run_id in {None, session.id}:
                _add(found, session)
    return sorted(found.values(), key=lambda session: session.order)


def _reachable(start: Path) -> Iterator[Session]:
    """Yield the sessions of a directory, of its journals and of the journals that these name."""
    queue, seen = [start], set()
    while queue:
        place = queue.pop()
        if place in seen or not place.is_dir():
            continue
        seen.add(place)
        sessions = read_journal(place)
        run_id = run_id_of(place)
        folders = parts_beside(place, run_id) if run_id else _parts_below(place)
        sessions += [Session(folder, run_id_of(folder) or "") for folder in folders]
        for session in sessions:
            folder = session.folder.resolve()
            if any(folder.glob("run-*.wandb")):
                session.folder = folder
                yield session
                queue.append(folder)


def _add(found: dict[Path, Session], session: Session) -> None:
    """Add what a journal knows of a session to what another one knows."""
    known = found.setdefault(session.folder, session)
    for item in fields(Session):
        if getattr(known, item.name) in {None, item.default}:
            setattr(known, item.name, getattr(session, item.name))


def run_id_of(folder: Path) -> str | None:
    """Return the run id in the name of a session's folder, or None."""
    match = _RUN_DIR.fullmatch(folder.name)
    return match["id"] if match else None


def parts_beside(folder: Path, run_id: str) -> list[Path]:
    """Return the folders of a run's sessions in the directory of one of them."""
    return [*folder.parent.glob(f"*run-????????_??????-{glob.escape(run_id)}")]


def _parts_below(directory: Path) -> list[Path]:
    places = [directory, directory / "wandb", directory / ".wandb"]
    return [folder for place in places for folder in place.glob("*run-????????_??????-*") if run_id_of(folder)]


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
