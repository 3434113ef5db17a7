"""What a trial has left: what its invariants look at."""

from __future__ import annotations

import contextlib
import csv
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

from wandb_server import StoredRun

from chaos.plan import Plan, Strike

COMPANION = "companion"  # name and run of the training that runs beside another


@dataclass(frozen=True)
class Mark:
    """A statement of the job that was passed.

    Attributes:
        what: Its name.
        life: Number of the life, from 1.
        at: When, in seconds since 1970.
        pid: Id of the process.
        rank: Its rank; 0 in a process that has none.
        epoch: Epoch of the trainer, from 0; None where there is none.
    """

    what: str
    life: int
    at: float
    pid: int = 0
    rank: int = 0
    epoch: int | None = None


@dataclass
class Life:
    """One life of a job.

    Attributes:
        number: Its number, from 1.
        exit_code: Exit code of the process that was started; None if it had to be ended.
        seconds: Seconds from its start to its end.
        bound: Seconds that it might take.
        begun: When it began, in seconds since 1970.
        output: What was printed.
        strike: The fault that was to happen.
        done: What was done, such as "SIGKILL to rank 0 (17)"; empty if the job had ended before.
        struck_at: When that began, in seconds since 1970; None if it did not.
        left: Command lines of processes that were left some seconds after the end.
        shown: Command lines that were seen during the life.
    """

    number: int
    exit_code: int | None
    seconds: float
    bound: float
    output: str = ""
    strike: Strike | None = None
    done: list[str] = field(default_factory=list)
    struck_at: float | None = None
    begun: float = 0.0
    left: list[str] = field(default_factory=list)
    shown: set[str] = field(default_factory=set)


@dataclass
class Command:
    """A command that a message has named, and how it went."""

    words: list[str]
    exit_code: int
    output: str


@dataclass
class Outcome:
    """What a trial has left.

    Attributes:
        plan: What was drawn.
        directory: Directory of the job.
        lives: Its lives.
        marks: Marks of all lives, in their order.
        results: The last row of ``results.csv`` for each epoch, by epoch.
        runs: Runs at the server, once the commands were called.
        commands: Commands that messages have named.
        unnamed: Unsent sessions that no message has named, nor the doctor; of online ones those of a run without end.
        received: What the server received, without the Authorization headers.
        companion: The life of the training beside it.
        checkpoint_size: Size in bytes of the best checkpoint; None without one.
    """

    plan: Plan
    directory: Path
    lives: list[Life]
    marks: list[Mark] = field(default_factory=list)
    results: dict[int, dict[str, float]] = field(default_factory=dict)
    runs: list[StoredRun] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list, repr=False)
    companion: Life | None = None
    checkpoint_size: int | None = None

    @property
    def last(self) -> Life:
        """The last life."""
        return self.lives[-1]

    @property
    def own_runs(self) -> list[StoredRun]:
        """The runs at the server that are not the companion's."""
        return [run for run in self.runs if run.id != COMPANION]

    def marked(self, what: str, life: int | None = None, *, before: float = math.inf, rank: int = 0) -> list[Mark]:
        """Return the marks of a name."""
        return [
            mark
            for mark in self.marks
            if (mark.what, mark.rank, mark.life) == (what, rank, life or mark.life) and mark.at < before
        ]

    def happened(self, life: Life) -> bool:
        """Return whether the fault of a life has happened."""
        raises = life.strike is not None and life.strike.kind.raises
        from_start = life.strike is not None and life.strike.kind.from_start
        raised = any(mark.what == "raised" and mark.life == life.number for mark in self.marks)
        return raised if raises else from_start or bool(life.done)


def read_marks(file: Path) -> list[Mark]:
    """Return the marks of a file; a line that a kill has cut is left out."""
    marks = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
        with contextlib.suppress(ValueError, TypeError):
            marks.append(Mark(**json.loads(line)))
    return sorted(marks, key=lambda mark: mark.at)


def read_results(file: Path) -> dict[int, dict[str, float]]:
    """Return the last row of each epoch of a ``results.csv``."""
    if not file.exists():
        return {}
    rows: dict[int, dict[str, float]] = {}
    with file.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            try:
                numbers = {str(name).strip(): float(value) for name, value in row.items()}
            except (TypeError, ValueError):  # a row that a kill has cut
                continue
            rows[int(numbers.pop("epoch"))] = numbers
    return rows
