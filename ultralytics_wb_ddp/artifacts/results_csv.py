"""Reads ``results.csv`` of any Ultralytics release: one row for each epoch, also of a training that was killed.

Old releases count epochs from 0 and pad names and numbers with spaces. Until October 2025 a training with
``exist_ok=True`` was appended to the file of the one before.
"""

from __future__ import annotations

import codecs
import math
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path


VALIDATION_PREFIXES = ("metrics/", "val/")  # what a validation finds
EPOCH, TIME, LEARNING_RATE = "epoch", "time", "lr/"
SHOWN_COLUMNS = 3  # columns that a message names
MARGIN = 2  # times that an unusual order of the values has to fit better than the usual one
Problems = dict[str, list[int]]  # the lines that have it


class ResultsError(ValueError):
    """There is nothing in the file that could be read."""


class NoEpochError(ResultsError):
    """No epoch was over when the training ended."""


@dataclass(frozen=True)
class Results:
    """What a training has written about its epochs.

    Attributes:
        rows: Metrics, losses and learning rates by name, with ``epoch`` counted from 1; in the order of the epochs.
        seconds: Seconds of training until the end of each row's epoch; empty where the release did not note it.
        notes: What is wrong with the file, and what was left out.
        earlier: Number of other trainings that wrote into the file before this one.
        mark: What tells the training from others, however far it comes: the values of its first line.
    """

    rows: tuple[dict[str, float], ...]
    seconds: tuple[float, ...]
    notes: tuple[str, ...]
    earlier: int
    mark: str


class _Line(NamedTuple):
    """The values of an epoch by name, and whether an old release has written them."""

    values: dict[str, float]
    is_padded: bool


@dataclass
class _Training:
    """What a training has written.

    Attributes:
        first: Number that it gives to its first epoch.
        is_padded: Whether an old release has begun it.
        mark: The values of its first line.
        epochs: Values, and seconds that it took, of each epoch, counted from 0.
        lost: Epochs from which it has gone back.
        time: Time in the last line.
    """

    first: int
    is_padded: bool
    mark: str
    epochs: dict[int, tuple[dict[str, float], float | None]] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)
    time: float = 0.0

    def add(self, epoch: int, values: dict[str, float]) -> None:
        """Take an epoch, counted from 0."""
        for later in [known for known in self.epochs if known >= epoch]:
            del self.epochs[later]
            self.lost.add(later)
        time = values.get(TIME)
        spent = None if time is None else time - self.time if time >= self.time else time  # anew when it was resumed
        self.time = time or 0.0
        self.epochs[epoch] = {name: value for name, value in values.items() if name not in {EPOCH, TIME}}, spent

    def results(self, notes: list[str], earlier: int) -> Results:
        """Return its epochs in their order, and what is known of it besides."""
        epochs = sorted(self.epochs)
        if missing := [epoch + 1 for epoch in range(epochs[0], epochs[-1]) if epoch not in self.epochs]:
            notes.append(f"epochs are missing: {', '.join(map(str, missing))}")
        if lost := sum(epoch > epochs[-1] for epoch in self.lost):
            notes.append(f"{_count(lost)} left out: the training went on from an earlier one, up to {epochs[-1] + 1}")
        rows = tuple({**self.epochs[epoch][0], EPOCH: epoch + 1} for epoch in epochs)
        spent = [taken for epoch in epochs if (taken := self.epochs[epoch][1]) is not None]
        seconds = tuple(accumulate(spent)) if len(spent) == len(epochs) else ()
        return Results(rows, seconds, tuple(notes), earlier, self.mark)


def read_results(file: Path) -> Results:
    """Read what the last training in the file has written.

    A line whose epoch is not later than the one before says that a training has gone back: to a checkpoint or, where
    it is the first epoch, to the begin, as another training. What was written of that epoch and later ones before is
    left out.

    Raises:
        NoEpochError: It has no epoch.
        ResultsError: It has no column ``epoch``.
        OSError: It cannot be read.
    """
    problems: Problems = defaultdict(list)
    lines = list(_read_lines(_decode(file.read_bytes()), file.name, problems))
    notes = [_note(what, numbers, file.name) for what, numbers in problems.items()]
    trainings = _split_trainings(lines)
    if not trainings:
        msg = f"{file.name} holds no epoch: the training ended before its first one was over"
        raise NoEpochError("; ".join([msg, *notes]))
    *earlier, last = trainings
    if earlier:
        whose = "an earlier training" if len(earlier) == 1 else f"{len(earlier)} earlier trainings"
        number = _count(sum(len(training.epochs) for training in earlier))
        notes.insert(0, f"{file.name} holds {whose}, too: {number} left out")
    return last.results(notes, len(earlier))


def _count(number: int) -> str:
    return f"{number} epoch is" if number == 1 else f"{number} epochs are"


def _decode(content: bytes) -> str:
    is_wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if is_wide else "utf-8-sig", errors="replace")


def _note(what: str, numbers: list[int], file: str) -> str:
    """Return what is wrong with lines.

    Args:
        what: It, as it is said of one line.
        numbers: Numbers of the lines.
        file: Name of the file.
    """
    if len(numbers) == 1:
        return f"line {numbers[0]} of {file} {what}"
    is_run = numbers == list(range(numbers[0], numbers[-1] + 1))
    shown = f"{numbers[0]} to {numbers[-1]}" if is_run else ", ".join(map(str, numbers))
    return f"lines {shown} of {file}: each {what}"


def _read_lines(text: str, file: str, problems: Problems) -> Iterator[_Line]:
    """Yield the epochs that lines tell of, each by the header that is above it.

    Args:
        text: Content of the file.
        file: Its name.
        problems: Takes what is wrong with which lines.

    Raises:
        ResultsError: There is no header.
    """
    lines = [line.lstrip("\0") for line in text.splitlines()]
    table = [[cell.strip() for cell in line.split(",")] for line in lines]
    names: list[str] = []
    before: dict[str, float] = {}
    for place, cells in enumerate(table):
        while cells and not cells[-1] and (EPOCH in cells or len(cells) > len(names)):
            cells.pop()
        if EPOCH in cells:
            names, before = cells, {}
        elif not any(cells):
            continue
        elif not names:
            problems["stands above the names of the columns and is left out"].append(place + 1)
        else:
            is_cut = place + 1 == len(table) and text[-1] not in "\r\n"
            near = {len(table[other]) for other in (place - 1, place + 1) if 0 <= other < len(table)}
            try:
                pairs = _name_values(names, cells, before, is_usual=len(cells) in near)
                if len(cells) != len(names):
                    what = f"has {len(cells)} values for {len(names)} names; values without a name are left out"
                    problems[what].append(place + 1)
                before = _numbers(pairs[:-1] if is_cut else pairs)
            except ValueError as problem:
                problems[f"{problem} and is left out"].append(place + 1)
            else:
                yield _Line(before, lines[place].startswith(" "))
    if not names and any(map(any, table)):
        shown = ", ".join(filter(None, table[0][:SHOWN_COLUMNS] if table else [])) or "none"
        msg = f"{file} has no column 'epoch' (its first columns: {shown}): Ultralytics has not written it so"
        raise ResultsError(msg)


def _name_values(
    names: list[str], cells: list[str], before: dict[str, float], *, is_usual: bool
) -> list[tuple[str, str]]:
    """Return the values of a line with their names, where it has more or fewer than the header, too.

    Another release went on with the training, or a metric was added. Ultralytics writes the time behind the epoch and
    metrics in front of the learning rates, so that the values that follow have moved: the order counts that comes
    closest to the line before.

    Args:
        names: Names in the header.
        cells: The values.
        before: Values of the line before by name.
        is_usual: Whether a line beside it has as many values: one that is cut off stands alone.

    Raises:
        ValueError: It is cut off.
    """
    extra = len(cells) - len(names)
    if extra < 0 and not is_usual:
        msg = f"has {len(cells)} of {len(names)} values"
        raise ValueError(msg)
    rates = next((place for place, name in enumerate(names) if name.startswith(LEARNING_RATE)), len(names))
    starts = [len(names) + min(extra, 0), rates + min(extra, 0), names.index(EPOCH) + 1]
    usual, *others = [_order(names, cells, start) for start in starts if start > 0]
    best = min(others, key=lambda order: _distance(order, before), default=usual)
    return best if MARGIN * _distance(best, before) < _distance(usual, before) else usual


def _order(names: list[str], cells: list[str], start: int) -> list[tuple[str, str]]:
    """Return values with their names if those that came or went begin at a place.

    Args:
        names: Names in the header.
        cells: The values.
        start: The place.
    """
    extra = len(cells) - len(names)
    came = [TIME if start == 1 and TIME not in names else "", *[""] * extra][: max(extra, 0)]
    return list(zip([*names[:start], *came, *names[start + max(-extra, 0) :]], cells))


def _distance(order: list[tuple[str, str]], before: dict[str, float]) -> float:
    """Return how far the values are from those of the line before, as a sum of parts from 0 to 1."""
    far = 0.0
    for name, cell in order:
        if name in before and name != EPOCH:
            try:
                one, other = float(cell), before[name]
                part = abs(one - other) / ((abs(one) + abs(other)) or 1.0)
            except ValueError:
                part = 1.0
            far += part if math.isfinite(part) else 0.0
    return far


def _numbers(pairs: Iterable[tuple[str, str]]) -> dict[str, float]:
    """Return the numbers of a line by name, without what is no number.

    Raises:
        ValueError: It is none of an epoch.
    """
    values, damaged = {}, False
    for name, cell in pairs:
        try:
            if name and cell:
                values[name] = float(cell)
        except ValueError:  # noqa: PERF203  # the others are wanted
            damaged = True
    epoch = values.get(EPOCH, math.nan)
    if not math.isfinite(epoch) or epoch < 0 or (damaged and values.keys() <= {EPOCH, TIME}):
        msg = "is not made of numbers"
        raise ValueError(msg)
    return values


def without_placeholders(rows: Sequence[dict[str, float]], *, are_validated: bool) -> tuple[dict[str, float], ...]:
    """Return rows without what was not measured: zeros before the first validation, and an earlier epoch's numbers.

    Args:
        rows: The rows in the order of the epochs.
        are_validated: Whether each epoch was to be validated.
    """
    found = []
    before: dict[str, float] = {}
    for row in rows:
        measured = {name: value for name, value in row.items() if name.startswith(VALIDATION_PREFIXES)}
        losses = [value for name, value in measured.items() if name.startswith("val/")]
        # A loss that was measured is never 0, while metrics may be.
        is_empty = bool(losses) and not any(measured.values())
        is_old = bool(losses) and not are_validated and measured == before
        before = measured
        rest = {name: value for name, value in row.items() if name not in measured}
        found.append(rest if is_empty or is_old else row)
    return tuple(found)


def _split_trainings(lines: Iterable[_Line]) -> list[_Training]:
    """Return the trainings in the order of the lines."""
    trainings: list[_Training] = []
    for values, is_padded in lines:
        number = int(values[EPOCH])
        training = trainings[-1] if trainings else None
        first = _first_number(training, number, is_padded=is_padded)
        if training is None or number <= first:
            training = _Training(min(number, 1), is_padded, repr(sorted(values.items())))
            trainings.append(training)
            first = training.first
        training.add(number - first, values)
    return trainings


def _first_number(training: _Training | None, number: int, *, is_padded: bool) -> int:
    """Return the number that the release which wrote a line gives to the first epoch.

    Args:
        training: The training of the line before, which may have counted from 0 when a later release went on with it,
            or wrote another training behind it.
        number: Number of the epoch.
        is_padded: Whether the line is of an old release.
    """
    if training is None or training.first == 1 or (training.is_padded and not is_padded):
        return 1
    return 1 if number == 1 and max(training.epochs) > 1 else 0
