"""What a directory of a training that is over says of it: arguments, epochs, pictures, checkpoints."""

from __future__ import annotations

import hashlib
import math
import re
import zipfile
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.log import cause_of
from ultralytics_wb_ddp.plain import redact, to_plain
from ultralytics_wb_ddp.results_csv import Results, read_results, without_placeholders

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["ARGUMENTS", "RESULTS", "Checkpoint", "PastTraining"]

ARGUMENTS, RESULTS = "args.yaml", "results.csv"
PICTURES = (".jpg", ".jpeg", ".png")
END_PICTURE = "results.png"  # drawn when a training is over
DIGITS = 4  # significant ones that results.csv has in every release
ID_DIGITS = 10


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says of itself.

    Attributes:
        is_stripped: Whether the training was over: Ultralytics takes the optimizer out at its end.
        fitness: Fitness of its epoch.
        metrics: Metrics of its epoch.
        arguments: Arguments of the training, without secrets, with what ``optimizer=auto`` in ``args.yaml`` came to be.
    """

    is_stripped: bool
    fitness: float | None
    metrics: dict[str, float]
    arguments: dict[str, Any]

    @classmethod
    def read(cls, file: Path) -> Checkpoint:
        """Read a checkpoint, which is a pickle, as Ultralytics does.

        Raises:
            ValueError: It is no complete checkpoint.
            Exception: Of any kind, where it needs a class that is not there.
        """
        if not zipfile.is_zipfile(file):  # its table of contents is written last
            msg = f"{file.name} is no complete checkpoint ({file.stat().st_size} bytes)"
            raise ValueError(msg)
        import torch

        content = torch.load(file, map_location="cpu", weights_only=False)
        metrics = {key: float(value) for key, value in (content.get("train_metrics") or {}).items()}
        metrics = {key: value for key, value in metrics.items() if math.isfinite(value)}
        arguments = redact(to_plain(content.get("train_args") or {}))
        return cls(not content.get("optimizer"), metrics.pop("fitness", None), metrics, arguments)


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
            ResultsError: There is no epoch in it.
            OSError: It cannot be read.
        """
        results = read_results(directory / RESULTS)
        digest = hashlib.sha256((directory / RESULTS).read_bytes())
        arguments, notes = {}, list(results.notes)
        try:
            arguments = _read_arguments(directory / ARGUMENTS)
            digest.update((directory / ARGUMENTS).read_bytes())
        except Exception as problem:  # noqa: BLE001  # damaged in any way
            notes.append(f"{ARGUMENTS} cannot be read ({cause_of(problem).splitlines()[0]}): the run has no config")
        rows = without_placeholders(results.rows, are_validated=arguments.get("val") is not False)
        results = replace(results, rows=rows)
        files = (file for file in directory.iterdir() if not file.name.startswith("."))
        pictures = tuple(sorted(file for file in files if file.suffix.lower() in PICTURES and file.is_file()))
        return cls(directory, arguments, results, pictures, tuple(notes), digest.hexdigest()[:ID_DIGITS])

    @property
    def name(self) -> str:
        """The name of the training."""
        return str(self.arguments.get("name") or self.directory.name)

    @property
    def run_id(self) -> str:
        """The id of its run, the same wherever the directory lies."""
        return f"{re.sub(r'[^A-Za-z0-9_.-]', '_', self.name)[:64]}_{self.digest}"

    @property
    def last_epoch(self) -> int:
        """The last epoch that is known, counted from 1."""
        return int(self.results.rows[-1]["epoch"])

    @property
    def epochs(self) -> int | None:
        """The number of epochs that were asked for."""
        epochs = self.arguments.get("epochs")
        return epochs if isinstance(epochs, int) and not isinstance(epochs, bool) else None

    def is_complete(self, last: Checkpoint | None) -> bool:
        """Return whether the training was over, be it that it stopped early.

        Args:
            last: Its last checkpoint, if that can be read.
        """
        has_all = self.epochs is not None and self.last_epoch >= self.epochs
        is_over = last.is_stripped if last else (self.directory / END_PICTURE).exists()
        return has_all or is_over

    def times(self) -> list[float]:
        """Return when each epoch was over, in seconds since 1970: the last one when ``results.csv`` was written."""
        end = (self.directory / RESULTS).stat().st_mtime
        seconds, count = self.results.seconds, len(self.results.rows)
        if seconds and all(map(math.isfinite, seconds)):
            return [end - seconds[-1] + passed for passed in seconds]
        file = self.directory / ARGUMENTS
        start = min(file.stat().st_mtime if file.exists() else end, end)
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
    return math.isclose(one, other, rel_tol=10**-DIGITS, abs_tol=1e-9)


def _read_arguments(file: Path) -> dict[str, Any]:
    import yaml

    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        msg = f"it holds no arguments but {type(content).__name__}"
        raise ValueError(msg)  # noqa: TRY004  # the file is wrong, not the program
    arguments: dict[str, Any] = redact(to_plain(content))
    return arguments
