"""Reads ``results.csv`` of any Ultralytics release: one row for each epoch, also of a training that was killed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Results", "ResultsError", "read_results", "without_placeholders"]

MEASURED = ("metrics/", "val/")  # what a validation finds
EPOCH, TIME = "epoch", "time"
NAMED = 3  # columns that a message names


class ResultsError(ValueError):
    """There is nothing in the file that could be read."""


@dataclass(frozen=True)
class Results:
    """What a training has written about its epochs.

    Attributes:
        rows: Metrics, losses and learning rates by name, with ``epoch`` counted from 1; in the order of the epochs.
        seconds: Seconds of training until the end of each row's epoch; empty where the release did not note it.
        notes: What is wrong with the file, and what was left out.
    """

    rows: tuple[dict[str, float], ...]
    seconds: tuple[float, ...]
    notes: tuple[str, ...]


def read_results(file: Path) -> Results:
    """Read the file.

    Old releases pad names and numbers with spaces. A line that is cut off or holds no numbers is left out; of an epoch
    that was trained twice, because the training was killed in it, the second time counts.

    Raises:
        ResultsError: It is empty, has no column ``epoch`` or no epoch.
        OSError: It cannot be read.
    """
    text = file.read_text(encoding="utf-8-sig", errors="replace")
    lines = text.splitlines()
    names = [name.strip() for name in lines[0].split(",")] if lines else []
    if EPOCH not in names:
        shown = ", ".join(filter(None, names[:NAMED])) or "none"
        msg = f"{file.name} has no column 'epoch' (its first columns: {shown}): Ultralytics has not written it so"
        raise ResultsError(msg)
    found: dict[int, tuple[dict[str, float], float | None]] = {}
    notes = []
    before = 0.0  # the time of the line before
    for number, line in enumerate(lines[1:], start=2):
        is_last = number == len(lines) and not text.endswith("\n")
        try:
            values = _numbers(names, line, is_cut=is_last)
        except ValueError as problem:
            if line.strip():
                notes.append(f"line {number} of {file.name} {problem} and is left out")
            continue
        epoch, time = int(values.pop(EPOCH)), values.pop(TIME, None)
        spent = None if time is None else time - before if time >= before else time  # it begins anew when resumed
        before = time or 0.0
        found.pop(epoch, None)
        found[epoch] = (values, spent)
    if not found:
        msg = f"{file.name} holds no epoch: the training ended before its first one was over"
        raise ResultsError("; ".join([msg, *notes]))
    return _in_order(found, notes)


def _numbers(names: list[str], line: str, *, is_cut: bool) -> dict[str, float]:
    """Return the numbers of a line by name.

    Args:
        names: Names of the columns.
        line: The line.
        is_cut: Whether it has no end, so that its last number may be cut off.

    Raises:
        ValueError: It is none of an epoch.
    """
    cells = [cell.strip() for cell in line.split(",")]
    if len(cells) != len(names):
        msg = f"has {len(cells)} of {len(names)} values"
        raise ValueError(msg)
    if is_cut:
        cells[-1] = ""
    try:
        values = {name: float(cell) for name, cell in zip(names, cells) if name and cell}
        int(values[EPOCH])
    except (ValueError, KeyError, OverflowError):
        msg = "is not made of numbers"
        raise ValueError(msg) from None
    return values


def _in_order(found: dict[int, tuple[dict[str, float], float | None]], notes: list[str]) -> Results:
    """Return what was found in the order of the epochs, which the first releases counted from 0."""
    first = 1 if 0 in found else 0
    epochs = sorted(found)
    rows = tuple({**found[epoch][0], EPOCH: epoch + first} for epoch in epochs)
    spent = [found[epoch][1] for epoch in epochs]
    missing = sorted(set(range(epochs[0], epochs[-1])) - set(epochs))
    if missing:
        notes.append(f"epochs are missing: {', '.join(str(epoch + first) for epoch in missing)}")
    known = [seconds for seconds in spent if seconds is not None]
    seconds = tuple(sum(known[: place + 1]) for place in range(len(known))) if len(known) == len(rows) else ()
    return Results(rows, seconds, tuple(notes))


def without_placeholders(rows: Sequence[dict[str, float]], *, are_validated: bool) -> tuple[dict[str, float], ...]:
    """Return rows without what was not measured: zeros before the first validation, and an earlier epoch's numbers.

    Args:
        rows: The rows in the order of the epochs.
        are_validated: Whether each epoch was to be validated.
    """
    found = []
    before: dict[str, float] = {}
    for row in rows:
        measured = {name: value for name, value in row.items() if name.startswith(MEASURED)}
        losses = [value for name, value in measured.items() if name.startswith("val/")]
        # A loss that was measured is never 0, while metrics may be.
        is_empty = bool(losses) and not any(measured.values())
        is_old = bool(losses) and not are_validated and measured == before
        before = measured
        rest = {name: value for name, value in row.items() if name not in measured}
        found.append(rest if is_empty or is_old else row)
    return tuple(found)
