"""What the backend keeps. History is kept by line, as the service keeps it: a session that writes at an offset that is
taken destroys what stands there."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Lines:
    """A stream of lines to which clients write at an offset.

    Attributes:
        lines: The lines.
        destroyed: Lines that were written over by others.
        arrived: When each line arrived, in seconds on the monotonic clock.
    """

    lines: list[str] = field(default_factory=list)
    destroyed: list[str] = field(default_factory=list)
    arrived: list[float] = field(default_factory=list)

    def write(self, offset: int, content: list[str]) -> None:
        """Write lines from an offset on."""
        for number, line in enumerate(content, start=offset):
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
    """An artifact and its manifest: a dictionary by path."""

    id: str
    name: str
    type: str
    digest: str
    aliases: list[str]
    state: str = "PENDING"
    manifest: dict[str, Any] = field(default_factory=dict)


@dataclass
class StoredRun:
    """A run as the service would show it.

    Attributes:
        id: Id of the run.
        storage_id: The service's own id for it.
        project: Project of the run.
        fields: Display name, group, job type, tags and notes, as last given.
        config: The config, with W&B's own entries under ``_wandb``.
        summaries: The summary as it arrived each time, with the time on the monotonic clock.
        streams: History, events and console by the name of their file.
        files: Names of the files that were uploaded.
        artifacts: Artifacts that were logged.
        sessions: How many clients opened the run.
        state: ``"running"``, ``"finished"`` or ``"failed"``.
        exit_code: Exit code; None while it runs.
    """

    id: str
    storage_id: str
    project: str
    fields: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    summaries: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    streams: dict[str, Lines] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    artifacts: list[StoredArtifact] = field(default_factory=list)
    sessions: int = 0
    state: str = "running"
    exit_code: int | None = None

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
    def history(self) -> list[dict[str, Any]]:
        """The rows."""
        return [json.loads(line) for line in self.stream("wandb-history.jsonl").lines]

    @property
    def destroyed_rows(self) -> list[str]:
        """Rows that a later session wrote over."""
        return self.stream("wandb-history.jsonl").destroyed

    @property
    def console(self) -> str:
        """What was printed."""
        return "\n".join(self.stream("output.log").lines)

    def stream(self, name: str) -> Lines:
        """Return the stream of a file."""
        return self.streams.setdefault(name, Lines())
