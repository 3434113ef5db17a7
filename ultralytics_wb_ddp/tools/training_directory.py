"""Read the directory of a past training: arguments, epochs, pictures, checkpoints."""

from __future__ import annotations

import hashlib
import math
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.artifacts.results_csv import NoEpochError, Results, read_results, without_placeholders
from ultralytics_wb_ddp.tools.checkpoint_reader import is_stripped
from ultralytics_wb_ddp.tools.training_arguments import (
    ARGUMENTS,
    HYPERPARAMETERS,
    OPTIONS,
    foreign_names,
    is_of_yolov5,
    read_arguments,
)

if TYPE_CHECKING:
    from collections.abc import Container, Mapping
    from pathlib import Path

    from ultralytics_wb_ddp.tools.checkpoint_reader import Checkpoint


RESULTS = "results.csv"
OLD_RESULTS = "results.txt"  # of YOLOv5 before 2021-10 and of YOLOv7
PICTURES = (".jpg", ".jpeg", ".png")
END_PICTURE = "results.png"  # drawn when a training is over
SIGNIFICANT_DIGITS = 4  # significant ones that results.csv has in every release
ID_DIGITS = 10
SLACK = 60  # seconds that a file may be older than the last epoch


@dataclass(frozen=True)
class PastTraining:
    """A training's directory.

    Attributes:
        directory: The directory.
        arguments: Arguments of the training, without secrets; empty where they are unknown.
        results: Its epochs.
        pictures: Pictures that Ultralytics has drawn.
        notes: What is missing or damaged.
        digest: What tells its content from that of others, wherever it lies.
    """

    directory: Path
    arguments: dict[str, Any]
    results: Results
    pictures: tuple[Path, ...]
    notes: tuple[str, ...]
    digest: str

    @classmethod
    def read(cls, directory: Path) -> PastTraining:
        """Read a directory.

        Raises:
            NoEpochError: There is no epoch in it.
            ResultsError: ``results.csv`` is none.
            OSError: It cannot be read.
        """
        if not (directory / RESULTS).exists():
            raise NoEpochError(_why_no_epoch(directory))
        results = read_results(directory / RESULTS)
        digest = hashlib.sha256((directory / RESULTS).read_bytes())
        if results.earlier:  # older releases have mixed the trainings, in a run of another id
            digest.update(b"last")
        arguments, problems = read_arguments(directory)
        for name in (OPTIONS, HYPERPARAMETERS) if is_of_yolov5(directory) else (ARGUMENTS,):
            with suppress(OSError):
                digest.update((directory / name).read_bytes())
        rows = without_placeholders(results.rows, are_validated=arguments.get("val") is not False)
        results = replace(results, rows=rows)
        files = (file for file in directory.iterdir() if not file.name.startswith("."))
        pictures = tuple(sorted(file for file in files if file.suffix.lower() in PICTURES and file.is_file()))
        return cls(directory, arguments, results, pictures, (*results.notes, *problems), digest.hexdigest()[:ID_DIGITS])

    @property
    def name(self) -> str:
        """The name of the training."""
        named = foreign_names(self.arguments)[1] if is_of_yolov5(self.directory) else self.arguments.get("name")
        return str(named or self.directory.name)

    @property
    def project(self) -> str | None:
        """The project that a run of the training would have had."""
        project = foreign_names(self.arguments)[0] if is_of_yolov5(self.directory) else self.arguments.get("project")
        return None if project is None else str(project)

    @property
    def run_id(self) -> str:
        """The id of its run, the same wherever the directory lies."""
        return f"{re.sub(r'[^A-Za-z0-9_.-]', '_', self.name)[:64]}_{self.digest}"

    @property
    def mark(self) -> str:
        """What tells the training from another one in the same directory, however far it has come: its first epoch."""
        return hashlib.sha256(self.results.mark.encode()).hexdigest()[:ID_DIGITS]

    @property
    def last_epoch(self) -> int:
        """The last epoch that is known, counted from 1."""
        return int(self.results.rows[-1]["epoch"])

    @property
    def epochs(self) -> int | None:
        """The number of epochs that were asked for."""
        epochs = self.arguments.get("epochs")
        return epochs if isinstance(epochs, int) and not isinstance(epochs, bool) else None

    def is_complete(self, checkpoints: Mapping[str, Checkpoint]) -> bool | None:
        """Return whether the training was over, be it that it stopped early; None where that cannot be told.

        Args:
            checkpoints: Its checkpoints that can be read, by ``"last"`` and ``"best"``.
        """
        if self.epochs is not None and self.last_epoch >= self.epochs:
            return True
        files = {name: self.directory / "weights" / f"{name}.pt" for name in ("last", "best")}
        there = [name for name, file in files.items() if self._is_of_this_training(file)]
        said = (checkpoints[name].is_stripped if name in checkpoints else is_stripped(files[name]) for name in there)
        known = next((answer for answer in said if answer is not None), None)
        if known is not None:
            return known
        if self._is_of_this_training(self.directory / END_PICTURE):
            return True
        return None if there or self.epochs is None else False

    def _is_of_this_training(self, file: Path) -> bool:
        """Return whether a file is there and no earlier training has left it."""
        if not file.exists():
            return False
        age = (self.directory / RESULTS).stat().st_mtime - file.stat().st_mtime
        return not self.results.earlier or age < SLACK

    def times(self) -> list[float]:
        """Return when each epoch was over, in seconds since 1970: the last one when ``results.csv`` was written."""
        end = (self.directory / RESULTS).stat().st_mtime
        seconds, count = self.results.seconds, len(self.results.rows)
        if seconds and all(map(math.isfinite, seconds)):
            return [end - seconds[-1] + passed for passed in seconds]
        files = (self.directory / name for name in (ARGUMENTS, OPTIONS))
        start = min([end, *(file.stat().st_mtime for file in files if file.exists())])
        return [start + (end - start) * (place + 1) / count for place in range(count)]

    def epoch_of(self, metrics: Mapping[str, float]) -> int | None:
        """Return the epoch that has certain metrics, as ``results.csv`` rounds them; the last of several.

        Args:
            metrics: Metrics of a checkpoint.
        """
        for row in reversed(self.results.rows):
            shared = metrics.keys() & row.keys()
            if shared and all(_same(metrics[name], row[name]) for name in shared):
                return int(row["epoch"])
        return None


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=10**-SIGNIFICANT_DIGITS, abs_tol=1e-9)


def is_training(names: Container[str]) -> bool:
    """Return whether a directory that holds certain files is a training's, also one of YOLOv5 or YOLOv7."""
    is_foreign = OPTIONS in names and (HYPERPARAMETERS in names or OLD_RESULTS in names)
    return RESULTS in names or ARGUMENTS in names or is_foreign


def _why_no_epoch(directory: Path) -> str:
    if (directory / OLD_RESULTS).exists():
        return f"{OLD_RESULTS} is of YOLOv7 or of an old YOLOv5, which note epochs otherwise; only {RESULTS} is read"
    return f"there is no {RESULTS}: the training ended before its first epoch was over"
