"""Describe a checkpoint: its epoch, metrics, arguments, progress, SHA-256 and git commit."""

from __future__ import annotations

import hashlib
import math
import subprocess
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.artifacts.checkpoint_unpickler import PlainUnpickler
from ultralytics_wb_ddp.utils.serialization import redact, to_plain

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


GIT_TIMEOUT = 5.0  # seconds
BLOCK = 1 << 20  # bytes
STRIPPED = -1  # epoch in a checkpoint from which Ultralytics has stripped the optimizer, at the end of a training


@dataclass(frozen=True)
class Measurement:
    """The results of a validation.

    Attributes:
        fitness: The value by which Ultralytics chooses the best checkpoint; None without a validation.
        metrics: The metrics by name; empty without a validation.
    """

    fitness: float | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)


def checkpoint_metadata(trainer: Any, epoch: int | None, measured: Measurement) -> dict[str, Any]:
    """Return ``epoch``, ``fitness``, ``metrics`` and ``train_args`` as a checkpoint's metadata, without secrets.

    Args:
        trainer: The trainer.
        epoch: Epoch of the checkpoint, counted from 1; None if unknown.
        measured: Results of the validation of this checkpoint, not of another one.
    """
    return {
        "epoch": epoch,
        "fitness": _number(measured.fitness),
        "metrics": finite_numbers(measured.metrics),
        "train_args": redact(to_plain(vars(trainer.args))),
    }


@dataclass(frozen=True)
class Progress:
    """The progress of a training when it wrote a checkpoint.

    Attributes:
        epoch: The epoch after which the checkpoint was written, counted from 0; :data:`STRIPPED` at the end of a
            training.
        epochs: The requested number of epochs; None if unknown.
        trained: The number of trained epochs; 0 if unknown.
        metrics: Results of the validation of this checkpoint; empty if unknown.
    """

    epoch: int
    epochs: int | None = None
    has_optimizer: bool = True
    trained: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def can_be_resumed(self) -> bool:
        """Whether Ultralytics can resume from the checkpoint, by its rule since 8.4.60.

        Earlier releases resume from the checkpoint of the last epoch, too, and train one epoch too many.
        """
        return self.has_optimizer and 0 < self.epoch + 1 < (self.epochs or math.inf)

    @classmethod
    def of_content(cls, content: Mapping[str, Any]) -> Progress | None:
        """Return the progress in an unpickled checkpoint; None without an epoch, so that no training wrote it."""
        epoch, arguments = content.get("epoch"), content.get("train_args")
        if not isinstance(epoch, int):
            return None
        epochs = arguments.get("epochs") if isinstance(arguments, dict) else None
        results = content.get("train_results")
        rows = results.get("epoch") if isinstance(results, dict) else None
        trained = max(epoch + 1, len(rows) if isinstance(rows, list) else 0)
        metrics = content.get("train_metrics")
        return cls(
            epoch,
            epochs if isinstance(epochs, int) else None,
            content.get("optimizer") is not None,
            trained,
            finite_numbers(metrics) if isinstance(metrics, dict) else {},
        )

    @classmethod
    def read(cls, file: Path) -> Progress | None:
        """Read the progress without torch and without running code.

        It is None if the file is missing, damaged or no checkpoint of a training.
        """
        try:
            with zipfile.ZipFile(file) as archive:
                (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
                with archive.open(name) as content:
                    values = PlainUnpickler(content).load()
        except Exception:  # noqa: BLE001  # damaged in any way
            return None
        return cls.of_content(values) if isinstance(values, dict) else None


def file_sha256(file: Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits."""
    digest = hashlib.sha256()
    with file.open("rb") as source:
        while block := source.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def git_state(directory: Path) -> dict[str, Any]:
    """Return a directory's ``commit`` and ``branch``, and ``dirty``; empty outside of a git repository.

    The address of the remote is left out: it may hold a password.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(directory), *arguments]
        return subprocess.run(  # noqa: S603  # no argument comes from outside
            command, capture_output=True, text=True, check=True, timeout=GIT_TIMEOUT
        ).stdout.strip()

    try:
        commit, branch = git("rev-parse", "HEAD"), git("rev-parse", "--abbrev-ref", "HEAD")
        return {"commit": commit, "branch": branch, "dirty": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return {}


def finite_numbers(values: Mapping[str, Any] | None) -> dict[str, float]:
    """Return the finite numbers among metrics, because JSON has no NaN."""
    numbers = {name: _number(value) for name, value in (values or {}).items()}
    return {name: number for name, number in numbers.items() if number is not None}


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):  # a custom trainer may have metrics that are no numbers
        return None
    return number if math.isfinite(number) else None
