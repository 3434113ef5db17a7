"""What the backend keeps. History is kept by line, as the service keeps it: a session that writes at an offset that is
taken destroys what stands there."""

from __future__ import annotations

import base64
import heapq
import json
import time
from dataclasses import dataclass, field
from datetime import datetime
from operator import itemgetter
from typing import Any

ENTITY = "team"  # to whom a run belongs if its client does not say
ORGANIZATION = "organization"  # the entity to which registries belong
PROJECT = "uncategorized"
HISTORY, EVENTS, SUMMARY, CONSOLE = "wandb-history.jsonl", "wandb-events.jsonl", "wandb-summary.json", "output.log"


@dataclass
class Lines:
    """A stream of lines to which clients write at an offset.

    Attributes:
        lines: The lines.
        destroyed: Lines that were written over by others.
        arrived: When each line arrived, in seconds on the monotonic clock.
        start: The offset of the first line.
    """

    lines: list[str] = field(default_factory=list)
    destroyed: list[str] = field(default_factory=list)
    arrived: list[float] = field(default_factory=list)
    start: int = 0

    def write(self, offset: int, content: list[str]) -> None:
        """Write lines from an offset on."""
        for number, line in enumerate(content, start=offset - self.start):
            while len(self.lines) <= number:
                self.lines.append("")
                self.arrived.append(time.monotonic())
            if self.lines[number] and self.lines[number] != line:
                self.destroyed.append(self.lines[number])
            self.lines[number] = line
            self.arrived[number] = time.monotonic()

    def count(self, lag: float) -> int:
        """Return how many lines a service that counts late sees: those that arrived at least ``lag`` seconds ago."""
        seen = time.monotonic() - lag
        return sum(1 for arrived in self.arrived if arrived <= seen)


@dataclass
class StoredArtifact:
    """A version of an artifact.

    Attributes:
        id: The service's id for it.
        entity: Entity of its project.
        project: Its project.
        name: Name of the collection whose version it is.
        type: Type of the collection.
        digest: Digest of the manifest: two artifacts of one digest have the same content.
        aliases: Aliases that point at it; the newest version takes them from the older ones.
        state: ``"PENDING"`` until all of it has arrived, then ``"COMMITTED"``.
        version: Number of the version, from 0; None while pending.
        metadata: Metadata, as JSON.
        ttl_seconds: Seconds that it lives; -2 for as long as is the rule in its project.
        manifest: Entries by path: digest and size, and ``ref`` where the entry refers to something outside of W&B.
        uploads: Uploaded bytes: ``"manifest"``, and ``"files/NAME"``.
    """

    id: str
    entity: str
    project: str
    name: str
    type: str
    digest: str
    aliases: list[str]
    state: str = "PENDING"
    version: int | None = None
    metadata: str | None = None
    ttl_seconds: int = -2
    manifest: dict[str, Any] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict, repr=False)

    def file(self, name: str) -> bytes:
        """Return the content of a file that was uploaded, not referred to."""
        return self.uploads[f"files/{name}"]


@dataclass
class StoredRun:
    """A run as the service would show it.

    Attributes:
        id: Id of the run, unique in its project.
        project: Project of the run.
        entity: Entity of the project.
        fields: Display name, group, job type, tags and notes, as last given.
        config: The config, with W&B's own entries under ``_wandb``.
        summaries: The summary as it arrived each time, with the time on the monotonic clock.
        streams: History, events and console by the name of their file and the writer; "" but in shared mode.
        uploads: Uploaded bytes by name of the file.
        artifacts: Artifacts that were logged.
        used_artifacts: Artifacts that were used.
        sweep: Name of the sweep that the run is a trial of.
        sessions: How many clients opened the run. One whose opening is obeyed but not answered opens it again.
        state: ``"running"``, ``"finished"``, ``"failed"``, ``"preempting"`` or ``"preempted"``.
        exit_code: Exit code; None while it runs.
        preempting: Whether the session said that its machine is about to be taken away.
        stopped: Whether somebody pressed Stop.
        heartbeat: When the file stream was last heard of.
        created: When the run was made.
    """

    id: str
    project: str
    entity: str
    created: datetime
    fields: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    summaries: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    streams: dict[tuple[str, str], Lines] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict, repr=False)
    artifacts: list[StoredArtifact] = field(default_factory=list)
    used_artifacts: list[StoredArtifact] = field(default_factory=list)
    sweep: str | None = None
    sessions: int = 0
    state: str = "running"
    exit_code: int | None = None
    preempting: bool = False
    stopped: bool = False
    heartbeat: datetime | None = None

    @property
    def storage_id(self) -> str:
        """The service's own id for the run, by which clients name a run that they resume."""
        return base64.b64encode(f"Run:v1:{self.id}:{self.project}:{self.entity}".encode()).decode()

    @property
    def files(self) -> list[str]:
        """Names of the files that were uploaded."""
        return list(self.uploads)

    def file(self, name: str) -> bytes:
        """Return the content of an uploaded file."""
        return self.uploads[name]

    @property
    def summary(self) -> dict[str, Any]:
        """The summary."""
        return self.summary_before(0.0)

    def summary_before(self, lag: float) -> dict[str, Any]:
        """Return the summary as a service that counts late sees it."""
        seen = time.monotonic() - lag
        return next((summary for arrived, summary in reversed(self.summaries) if arrived <= seen), {})

    @property
    def values(self) -> dict[str, Any]:
        """The config's values, without W&B's own."""
        return {key: entry["value"] for key, entry in self.config.items() if key != "_wandb"}

    @property
    def metrics(self) -> dict[str, str]:
        """Names and globs that have an axis, and the axis; the client numbers the entries in ``_wandb.m`` from 1."""
        entries = self.config.get("_wandb", {}).get("value", {}).get("m", [])
        names = {number: entry.get("1") or entry.get("2") for number, entry in enumerate(entries, start=1)}
        return {str(names[number]): str(names[entry["5"]]) for number, entry in enumerate(entries, 1) if "5" in entry}

    @property
    def history_lines(self) -> list[str]:
        """The rows as they were sent; those of several writers as they arrived."""
        writers = [zip(lines.arrived, lines.lines) for lines in self._writers(HISTORY)]
        return [line for _, line in heapq.merge(*writers, key=itemgetter(0))]

    @property
    def history(self) -> list[dict[str, Any]]:
        """The rows; ``{}`` where one is missing because a client wrote past the end."""
        return [json.loads(line or "{}") for line in self.history_lines]

    @property
    def destroyed_rows(self) -> list[str]:
        """Rows that a later session wrote over."""
        return [row for lines in self._writers(HISTORY) for row in lines.destroyed]

    @property
    def console(self) -> str:
        """What was printed."""
        return "\n".join(self.stream(CONSOLE).lines)

    def stream(self, name: str, writer: str = "", offset: int = 0) -> Lines:
        """Return the stream of a file. Writers in shared mode have one each, which begins where they begin to write:
        at the count of all writers' rows that they were told when they opened the run."""
        return self.streams.setdefault((name, writer), Lines(start=offset if writer else 0))

    def count(self, name: str, lag: float) -> int:
        """Return how many lines of a file a service that counts late sees."""
        return sum(lines.count(lag) for lines in self._writers(name))

    def _writers(self, name: str) -> list[Lines]:
        return [lines for (file, _), lines in self.streams.items() if file == name]


@dataclass
class StoredSweep:
    """A sweep.

    Attributes:
        name: Its name, which is its id to clients.
        project: Its project.
        entity: Entity of the project.
        config: The configuration: ``method`` and ``parameters``.
        trials: Parameters of the trials that were handed out, by the id of their run.
        agents: Ids of its agents.
        early: Ids of the runs that it ends early, as hyperband does; a test says so.
        state: ``"RUNNING"``, or ``"FINISHED"``; a test that sets the latter sends agents home whose trial has ended,
            ``"CANCELED"`` all of them.
    """

    name: str
    project: str
    entity: str
    config: dict[str, Any]
    trials: dict[str, dict[str, Any]] = field(default_factory=dict)
    agents: list[str] = field(default_factory=list)
    early: set[str] = field(default_factory=set)
    state: str = "RUNNING"


@dataclass
class Store:
    """All that a server keeps.

    Attributes:
        url: Address of the server, for the links that it hands out.
        runs: Runs by entity, project and id.
        artifacts: Artifacts by id.
        sweeps: Sweeps by name.
        links: Artifacts that were linked to a collection, by its entity, project and name.
        count_lag: Seconds by which line counts lag behind what arrived; the service's do by 2 to 4.
    """

    url: str
    runs: dict[tuple[str, str, str], StoredRun] = field(default_factory=dict)
    artifacts: dict[str, StoredArtifact] = field(default_factory=dict)
    sweeps: dict[str, StoredSweep] = field(default_factory=dict)
    links: dict[tuple[str, str, str], list[StoredArtifact]] = field(default_factory=dict)
    count_lag: float = 0.0

    def run(self, entity: str | None, project: str | None, run_id: str | None) -> StoredRun | None:
        """Return a run, if there is one."""
        return self.runs.get((entity or ENTITY, project or PROJECT, run_id or ""))

    def run_of_storage_id(self, storage_id: str) -> StoredRun:
        """Return the run that the service's own id names."""
        _, _, run_id, project, entity = base64.b64decode(storage_id).decode().split(":")
        return self.runs[entity, project, run_id]
