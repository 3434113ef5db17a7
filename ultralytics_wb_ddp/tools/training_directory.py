"""Read the directory of a past training: arguments, epochs, pictures, checkpoints."""

from __future__ import annotations

import hashlib
import math
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.artifacts.results_csv import NoEpochError, Results, read_results, without_placeholders
from ultralytics_wb_ddp.artifacts.training_state import ARGUMENTS, RESULTS
from ultralytics_wb_ddp.tools.checkpoint_reader import is_stripped
from ultralytics_wb_ddp.tools.training_arguments import (
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


OLD_RESULTS = "results.txt"  # of YOLOv5 before 2021-10 and of YOLOv7
PICTURES = (".jpg", ".jpeg", ".png")
END_PICTURE = "results.png"  # drawn when a training is over
ID_DIGITS = 10
SLACK = 60  # seconds; a file may be this much older than the last epoch


@dataclass(frozen=True)
class PastTraining:
    """The directory of a past training.

    Attributes:
        arguments: Arguments of the training, without secrets; empty if unknown.
        notes: Missing or damaged files.
        digest: Digest of the content, independent of the path.
    """

    directory: Path
    arguments: dict[str, Any]
    results: Results
    pictures: tuple[Path, ...]
    notes: tuple[str, ...]
    digest: str

    @classmethod
    def read(cls, directory: Path) -> PastTraining:
        """Read the directory of a training.

        Raises:
            NoEpochError: The directory has no epoch.
            ResultsError: ``results.csv`` is not a file of Ultralytics.
        """
        if not (directory / RESULTS).exists():
            raise NoEpochError(_why_no_epoch(directory))
        results = read_results(directory / RESULTS)
        digest = hashlib.sha256((directory / RESULTS).read_bytes())
        if results.earlier:  # older releases mixed the trainings in a run with another id
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
        """The default W&B project of the training."""
        project = foreign_names(self.arguments)[0] if is_of_yolov5(self.directory) else self.arguments.get("project")
        return None if project is None else str(project)

    @property
    def run_id(self) -> str:
        """The id of the training's run, independent of the directory's path."""
        return f"{re.sub(r'[^A-Za-z0-9_.-]', '_', self.name)[:64]}_{self.digest}"

    @property
    def mark(self) -> str:
        """The digest of the first epoch, to identify trainings in a directory."""
        return hashlib.sha256(self.results.mark.encode()).hexdigest()[:ID_DIGITS]

    @property
    def last_epoch(self) -> int:
        """The last logged epoch, counted from 1."""
        return int(self.results.rows[-1]["epoch"])

    @property
    def epochs(self) -> int | None:
        """The requested number of epochs; None if unknown."""
        epochs = self.arguments.get("epochs")
        return epochs if isinstance(epochs, int) and not isinstance(epochs, bool) else None

    def is_complete(self, checkpoints: Mapping[str, Checkpoint]) -> bool | None:
        """Return whether the training completed or stopped early; None if unknown."""
        if self.epochs is not None and self.last_epoch >= self.epochs:
            return True
        files = {name: self.directory / "weights" / f"{name}.pt" for name in ("last", "best")}
        present = [name for name, file in files.items() if self._is_of_this_training(file)]
        answers = (
            checkpoints[name].is_stripped if name in checkpoints else is_stripped(files[name]) for name in present
        )
        known = next((answer for answer in answers if answer is not None), None)
        if known is not None:
            return known
        if self._is_of_this_training(self.directory / END_PICTURE):
            return True
        return None if present or self.epochs is None else False

    def _is_of_this_training(self, file: Path) -> bool:
        if not file.exists():
            return False
        age = (self.directory / RESULTS).stat().st_mtime - file.stat().st_mtime
        return not self.results.earlier or age < SLACK

    def times(self) -> list[float]:
        """Return the end time of each epoch, in seconds since 1970.

        The last epoch ends at the modification time of ``results.csv``.
        """
        end = (self.directory / RESULTS).stat().st_mtime
        seconds, count = self.results.seconds, len(self.results.rows)
        if seconds and all(map(math.isfinite, seconds)):
            return [end - seconds[-1] + passed for passed in seconds]
        files = (self.directory / name for name in (ARGUMENTS, OPTIONS))
        start = min([end, *(file.stat().st_mtime for file in files if file.exists())])
        return [start + (end - start) * (index + 1) / count for index in range(count)]


def is_training(names: Container[str]) -> bool:
    """Return whether these are file names of a training directory, also of YOLOv5 and YOLOv7."""
    is_foreign = OPTIONS in names and (HYPERPARAMETERS in names or OLD_RESULTS in names)
    return RESULTS in names or ARGUMENTS in names or is_foreign


def _why_no_epoch(directory: Path) -> str:
    if (directory / OLD_RESULTS).exists():
        return f"{OLD_RESULTS} is of YOLOv7 or of an old YOLOv5, which note epochs otherwise; only {RESULTS} is read"
    return f"there is no {RESULTS}: the training ended before its first epoch was over"
