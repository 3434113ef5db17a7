"""Read ``results.csv`` of any Ultralytics release, also of a killed training.

Old releases count epochs from 0 and pad names and numbers with spaces. Until October 2025 a training with
``exist_ok=True`` appended its rows to the file of the previous training.
"""

from __future__ import annotations

import codecs
import math
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path


VALIDATION_PREFIXES = ("metrics/", "val/")  # columns of a validation
EPOCH, TIME, LEARNING_RATE = "epoch", "time", "lr/"
SHOWN_COLUMNS = 3  # columns that a message names
SIGNIFICANT_DIGITS = 4  # results.csv has at least these in every release
MARGIN = 2  # an unusual order of the values is taken if its distance is smaller by this factor
Problems = dict[str, list[int]]  # numbers of the lines, by problem


class ResultsError(ValueError):
    """A results file that cannot be read."""


class NoEpochError(ResultsError):
    """A results file without a complete epoch."""


@dataclass(frozen=True)
class Results:
    """The epochs of a training.

    Attributes:
        rows: Metrics, losses and learning rates by name, with ``epoch`` counted from 1; in the order of the epochs.
        seconds: Seconds of training until the end of each row's epoch; empty where the release did not record them.
        notes: Problems of the file, and the parts that were left out.
        earlier: Number of other trainings that wrote into the file before this one.
        mark: The values of the training's first line, which identify the training at any epoch.
    """

    rows: tuple[dict[str, float], ...]
    seconds: tuple[float, ...]
    notes: tuple[str, ...]
    earlier: int
    mark: str


class _Line(NamedTuple):
    """An epoch's values by name; old releases pad them with spaces."""

    values: dict[str, float]
    is_padded: bool


@dataclass
class _Training:
    """The lines of one training.

    Attributes:
        first: Number of the first epoch in the file, 0 or 1.
        is_padded: Whether an old release began the training.
        epochs: Values and duration in seconds of each epoch, counted from 0.
        lost: Epochs that were dropped when the training was resumed from an earlier epoch.
        time: Time in the last line, in seconds.
    """

    first: int
    is_padded: bool
    mark: str
    epochs: dict[int, tuple[dict[str, float], float | None]] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)
    time: float = 0.0

    def add(self, epoch: int, values: dict[str, float]) -> None:
        """Add an epoch, counted from 0, and drop later ones."""
        for later in [known for known in self.epochs if known >= epoch]:
            del self.epochs[later]
            self.lost.add(later)
        time = values.get(TIME)
        spent = None if time is None else time - self.time if time >= self.time else time  # a resume restarts the clock
        self.time = time or 0.0
        self.epochs[epoch] = {name: value for name, value in values.items() if name not in {EPOCH, TIME}}, spent

    def results(self, notes: list[str], earlier: int) -> Results:
        """Return the epochs in order, with notes on missing and dropped epochs."""
        epochs = sorted(self.epochs)
        if missing := [epoch + 1 for epoch in range(epochs[0], epochs[-1]) if epoch not in self.epochs]:
            notes.append(f"epochs are missing: {', '.join(map(str, missing))}")
        if lost := sum(epoch > epochs[-1] for epoch in self.lost):
            notes.append(f"{_count(lost)} left out: the training went on from an earlier one, up to {epochs[-1] + 1}")
        rows = tuple({**self.epochs[epoch][0], EPOCH: epoch + 1} for epoch in epochs)
        durations = [spent for epoch in epochs if (spent := self.epochs[epoch][1]) is not None]
        seconds = tuple(accumulate(durations)) if len(durations) == len(epochs) else ()
        return Results(rows, seconds, tuple(notes), earlier, self.mark)


def read_results(file: Path) -> Results:
    """Read the last training in a results file.

    A line whose epoch is not later than the previous line's belongs to a resumed training. Previous lines of this epoch
    and of later epochs are left out. A line with the first epoch begins another training. Notes name other trainings
    and lines that cannot be read.

    Raises:
        NoEpochError: The file has no epoch.
        ResultsError: The file has no column ``epoch``.
        OSError: The file cannot be read.
    """
    problems: Problems = defaultdict(list)
    lines = list(_read_lines(_decode(file.read_bytes()), file.name, problems))
    notes = [_note(problem, numbers, file.name) for problem, numbers in problems.items()]
    trainings = _split_trainings(lines)
    if not trainings:
        msg = f"{file.name} holds no epoch: the training ended before its first one was over"
        raise NoEpochError("; ".join([msg, *notes]))
    *previous, last = trainings
    if previous:
        others = "an earlier training" if len(previous) == 1 else f"{len(previous)} earlier trainings"
        number = _count(sum(len(training.epochs) for training in previous))
        notes.insert(0, f"{file.name} holds {others}, too: {number} left out")
    return last.results(notes, len(previous))


def _count(number: int) -> str:
    return f"{number} epoch is" if number == 1 else f"{number} epochs are"


def _decode(content: bytes) -> str:
    is_wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if is_wide else "utf-8-sig", errors="replace")


def _note(problem: str, numbers: list[int], file: str) -> str:
    if len(numbers) == 1:
        return f"line {numbers[0]} of {file} {problem}"
    is_consecutive = numbers == list(range(numbers[0], numbers[-1] + 1))
    shown = f"{numbers[0]} to {numbers[-1]}" if is_consecutive else ", ".join(map(str, numbers))
    return f"lines {shown} of {file}: each {problem}"


def _read_lines(text: str, file: str, problems: Problems) -> Iterator[_Line]:
    """Yield a line for each epoch, named by the closest header above. ``problems`` receives problems by line.

    Raises:
        ResultsError: The file has no header.
    """
    lines = [line.lstrip("\0") for line in text.splitlines()]
    table = [[cell.strip() for cell in line.split(",")] for line in lines]
    names: list[str] = []
    before: dict[str, float] = {}
    for index, cells in enumerate(table):
        while cells and not cells[-1] and (EPOCH in cells or len(cells) > len(names)):
            cells.pop()
        if EPOCH in cells:
            names, before = cells, {}
        elif not any(cells):
            continue
        elif not names:
            problems["stands above the names of the columns and is left out"].append(index + 1)
        else:
            is_cut = index + 1 == len(table) and text[-1] not in "\r\n"
            near = {len(table[other]) for other in (index - 1, index + 1) if 0 <= other < len(table)}
            try:
                pairs = _name_values(names, cells, before, is_usual=len(cells) in near)
                if len(cells) != len(names):
                    problem = f"has {len(cells)} values for {len(names)} names; values without a name are left out"
                    problems[problem].append(index + 1)
                before = _numbers(pairs[:-1] if is_cut else pairs)
            except ValueError as error:
                problems[f"{error} and is left out"].append(index + 1)
            else:
                yield _Line(before, lines[index].startswith(" "))
    if not names and any(map(any, table)):
        shown = ", ".join(filter(None, table[0][:SHOWN_COLUMNS] if table else [])) or "none"
        msg = f"{file} has no column 'epoch' (its first columns: {shown}): Ultralytics has not written it so"
        raise ResultsError(msg)


def _name_values(
    names: list[str], cells: list[str], before: dict[str, float], *, is_usual: bool
) -> list[tuple[str, str]]:
    """Return the values of a line with their names.

    A line may have more or fewer values than the header, if another release resumed the training or a metric was added.
    Ultralytics writes the time after the epoch and metrics before the learning rates, which moves the values that
    follow. This function takes the order whose values are closest to the previous line.

    A short line is cut off, which is a :class:`ValueError`, unless it ``is_usual``: a neighbouring line is as short.
    """
    extra = len(cells) - len(names)
    if extra < 0 and not is_usual:
        msg = f"has {len(cells)} of {len(names)} values"
        raise ValueError(msg)
    rates = next((index for index, name in enumerate(names) if name.startswith(LEARNING_RATE)), len(names))
    starts = [len(names) + min(extra, 0), rates + min(extra, 0), names.index(EPOCH) + 1]
    usual, *others = [_order(names, cells, start) for start in starts if start > 0]
    best = min(others, key=lambda order: _distance(order, before), default=usual)
    return best if MARGIN * _distance(best, before) < _distance(usual, before) else usual


def _order(names: list[str], cells: list[str], start: int) -> list[tuple[str, str]]:
    """Return named values if added or missing ones begin at an index."""
    extra = len(cells) - len(names)
    added = [TIME if start == 1 and TIME not in names else "", *[""] * extra][: max(extra, 0)]
    return list(zip([*names[:start], *added, *names[start + max(-extra, 0) :]], cells))


def _distance(order: list[tuple[str, str]], before: dict[str, float]) -> float:
    distance = 0.0
    for name, cell in order:
        if name in before and name != EPOCH:
            try:
                one, other = float(cell), before[name]
                part = abs(one - other) / ((abs(one) + abs(other)) or 1.0)
            except ValueError:
                part = 1.0
            distance += part if math.isfinite(part) else 0.0
    return distance


def _numbers(pairs: Iterable[tuple[str, str]]) -> dict[str, float]:
    """Return the numbers of a line by name, without other values.

    Raises:
        ValueError: The line has no valid epoch, or no other number than epoch and time.
    """
    values, damaged = {}, False
    for name, cell in pairs:
        try:
            if name and cell:
                values[name] = float(cell)
        except ValueError:  # noqa: PERF203  # the other values are kept
            damaged = True
    epoch = values.get(EPOCH, math.nan)
    if not math.isfinite(epoch) or epoch < 0 or (damaged and values.keys() <= {EPOCH, TIME}):
        msg = "is not made of numbers"
        raise ValueError(msg)
    return values


def without_placeholders(rows: Sequence[dict[str, float]], *, are_validated: bool) -> tuple[dict[str, float], ...]:
    """Return rows without metrics that were not measured in their epoch.

    Ultralytics writes zeros before the first validation, and repeats an older epoch's metrics after it. With
    ``are_validated`` it validates each epoch.
    """
    cleaned = []
    before: dict[str, float] = {}
    for row in rows:
        measured = {name: value for name, value in row.items() if name.startswith(VALIDATION_PREFIXES)}
        losses = [value for name, value in measured.items() if name.startswith("val/")]
        # A measured loss is never 0; metrics may be.
        is_empty = bool(losses) and not any(measured.values())
        is_old = bool(losses) and not are_validated and measured == before
        before = measured
        rest = {name: value for name, value in row.items() if name not in measured}
        cleaned.append(rest if is_empty or is_old else row)
    return tuple(cleaned)


def _split_trainings(lines: Iterable[_Line]) -> list[_Training]:
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
    """Return the first epoch's number, 0 or 1, in the release that wrote a line.

    The training of the previous line may count from 0, and a later release may have resumed it or appended another
    training. Old releases pad their lines.
    """
    if training is None or training.first == 1 or (training.is_padded and not is_padded):
        return 1
    return 1 if number == 1 and max(training.epochs) > 1 else 0


def epoch_with_metrics(rows: Sequence[Mapping[str, float]], metrics: Mapping[str, float]) -> int | None:
    """Return the last epoch with a checkpoint's metrics, as far as ``results.csv`` is rounded; else None."""
    for row in reversed(rows):
        shared = metrics.keys() & row.keys()
        if shared and all(
            math.isclose(metrics[name], row[name], rel_tol=10**-SIGNIFICANT_DIGITS, abs_tol=1e-9) for name in shared
        ):
            return int(row[EPOCH])
    return None
