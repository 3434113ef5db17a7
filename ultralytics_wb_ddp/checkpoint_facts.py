"""What is said of a checkpoint: the epoch, how good it is, what made it, and what the file is."""

from __future__ import annotations

import hashlib
import math
import pickletools
import subprocess
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.plain import redact, to_plain

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Measurement", "epoch_in", "facts_of", "finite_numbers", "git_state", "sha256_of"]

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


def facts_of(trainer: Any, epoch: int, measured: Measurement) -> dict[str, Any]:
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


def epoch_in(file: Path) -> int | None:
    """Return the epoch that a checkpoint was written after, counted from 0, without torch and without unpickling it.

    Returns:
        The epoch; -1 at the end of a training, when Ultralytics takes out what it needs to go on. None if the file is
        missing or no checkpoint.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
            with archive.open(name) as content:
                # Operations that keep a value for later stand between a key and its value.
                operations = (arg for code, arg, _ in pickletools.genops(content) if "PUT" not in code.name)
                values = (arg for arg in operations if arg is not None)
                epoch = next(values) if "epoch" in values else None
    except (OSError, ValueError, StopIteration, zipfile.BadZipFile):
        return None
    return epoch if isinstance(epoch, int) else None


def sha256_of(file: Path) -> str:
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
