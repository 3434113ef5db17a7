"""What is said of a checkpoint: the epoch, how good it is, what made it, whether it can be resumed, the file."""

from __future__ import annotations

import hashlib
import math
import pickle
import subprocess
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.utils.serialization import redact, to_plain

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from typing_extensions import Self


GIT_TIMEOUT = 5.0  # seconds
BLOCK = 1 << 20  # bytes


@dataclass(frozen=True)
class Measurement:
    """What a validation has found.

    Attributes:
        fitness: By which Ultralytics chooses the best checkpoint; None without a validation.
        metrics: The metrics by name; empty without a validation.
    """

    fitness: float | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)


def checkpoint_metadata(trainer: Any, epoch: int, measured: Measurement) -> dict[str, Any]:
    """Return what is said of a checkpoint, in words of Ultralytics'.

    Args:
        trainer: The trainer.
        epoch: Epoch of the checkpoint, counted from 1.
        measured: What a validation has found of this checkpoint, not of another one.
    """
    return {
        "epoch": epoch,
        "fitness": _number(measured.fitness),
        "metrics": finite_numbers(measured.metrics),
        "train_args": redact(to_plain(vars(trainer.args))),
    }


@dataclass(frozen=True)
class Progress:
    """How far the training had come that wrote a checkpoint.

    Attributes:
        epoch: The epoch that it was written after, counted from 0; -1 at the end of a training, when Ultralytics takes
            out what it needs to go on.
        epochs: The number of epochs that were asked for; None where it is not known.
        has_optimizer: Whether the state of the optimizer is in it.
        trained: The number of epochs that were trained; 0 where it is not known.
    """

    epoch: int
    epochs: int | None = None
    has_optimizer: bool = True
    trained: int = 0

    @property
    def can_be_resumed(self) -> bool:
        """Whether Ultralytics goes on from the checkpoint, by its own rule since 8.4.60.

        Earlier releases go on from that of the last epoch, too, and train one epoch more than was asked for.
        """
        return self.has_optimizer and 0 < self.epoch + 1 < (self.epochs or math.inf)

    @classmethod
    def of_content(cls, content: Mapping[str, Any]) -> Progress | None:
        """Return what the content of a checkpoint says; None if it is none of a training."""
        epoch, arguments = content.get("epoch"), content.get("train_args")
        if not isinstance(epoch, int):
            return None
        epochs = arguments.get("epochs") if isinstance(arguments, dict) else None
        results = content.get("train_results")
        noted = results.get("epoch") if isinstance(results, dict) else None
        trained = max(epoch + 1, len(noted) if isinstance(noted, list) else 0)
        return cls(epoch, epochs if isinstance(epochs, int) else None, content.get("optimizer") is not None, trained)

    @classmethod
    def read(cls, file: Path) -> Progress | None:
        """Read a checkpoint without torch; nothing in it is run.

        Returns:
            None if the file is missing, damaged or no checkpoint of a training.
        """
        try:
            with zipfile.ZipFile(file) as archive:
                (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
                with archive.open(name) as content:
                    found = _PlainUnpickler(content).load()
        except Exception:  # noqa: BLE001  # damaged in any way
            return None
        return cls.of_content(found) if isinstance(found, dict) else None


class _Placeholder:
    """Stands in a checkpoint for an object of any class."""

    def __new__(cls, *_: Any, **__: Any) -> Self:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        """Ignore what the object is made of."""

    def __setstate__(self, state: Any) -> None:
        """Ignore what the object holds."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Ignore an item."""

    def append(self, item: Any) -> None:
        """Ignore an item."""

    extend = add = append


class _PlainUnpickler(pickle.Unpickler):
    """Reads the plain values of a pickle, and runs nothing that it names."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ARG002  # as in the base class
        """Return a class that does nothing."""
        return _Placeholder

    def persistent_load(self, pid: Any) -> Any:  # noqa: ARG002  # as in the base class
        """Return nothing for the numbers of a tensor."""
        return None


def file_sha256(file: Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits."""
    digest = hashlib.sha256()
    with file.open("rb") as source:
        while block := source.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def git_state(directory: Path) -> dict[str, Any]:
    """Return the commit that a directory is at, its branch, and whether there are changes; nothing outside of git.

    The address of the remote, which may hold a password, is left out.
    """

    def ask(*words: str) -> str:
        command = ["git", "-C", str(directory), *words]
        return subprocess.run(  # noqa: S603  # no word comes from outside
            command, capture_output=True, text=True, check=True, timeout=GIT_TIMEOUT
        ).stdout.strip()

    try:
        commit, branch = ask("rev-parse", "HEAD"), ask("rev-parse", "--abbrev-ref", "HEAD")
        return {"commit": commit, "branch": branch, "dirty": bool(ask("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return {}


def finite_numbers(values: Mapping[str, Any] | None) -> dict[str, float]:
    """Return the numbers among metrics, without those that JSON has no word for."""
    numbers = {name: _number(value) for name, value in (values or {}).items()}
    return {name: number for name, number in numbers.items() if number is not None}


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):  # a trainer of the user's may have other metrics than numbers
        return None
    return number if math.isfinite(number) else None
