"""Scan a dataset's files in a process of its own.

Threads of the training process would share its interpreter lock with the training. A drive that does not answer blocks
only the process of the scan.
"""

from __future__ import annotations

import functools
import os
import pickle
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ultralytics_wb_ddp.artifacts.dataset_fingerprint import Dataset, Fingerprint, describe_changes
from ultralytics_wb_ddp.wandb_client.child_process import run_in_child

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


NICENESS = 10  # the training comes first


@dataclass(frozen=True)
class SplitSummary:
    """The size and the hash of one split of a dataset.

    Attributes:
        labels: Number of images that have a label.
        digest: Hash that changes with the images and their labels.
    """

    images: int
    labels: int
    size: int
    digest: str


@dataclass(frozen=True)
class ScanResult:
    """The result of a dataset scan.

    Attributes:
        digest: Hash that changes with any image, label or class name.
        changes: Changes since an earlier scan, as text; empty without changes.
    """

    digest: str
    parts: dict[str, SplitSummary]
    changes: str


def scan_dataset(
    dataset: Dataset, file: Path, previous: Sequence[Path], is_wanted: Callable[[], bool] | None = None
) -> ScanResult:
    """Scan a dataset and write its fingerprint to a file.

    Args:
        dataset: Paths of the dataset's parts.
        file: File to write the fingerprint to.
        previous: Files that may hold an earlier fingerprint, the likeliest first. The result has the changes since the
            first readable one.
        is_wanted: Return whether a process still waits for the result.

    Raises:
        ScanCancelled: No process waits for the result.
        OSError: The file cannot be written.
    """
    now = Fingerprint.compute(dataset, is_wanted)
    before = next((loaded for path in previous if (loaded := Fingerprint.load(path))), None)
    now.save(file)
    parts = {}
    for split in dataset.splits:
        part = now.for_split(split)
        parts[split] = SplitSummary(*part.counts(), part.size(), part.digest)
    return ScanResult(now.digest, parts, describe_changes(before, now) if before and before != now else "")


class DatasetScan:
    """A process that calls :func:`scan_dataset`, until this process ends."""

    def __init__(self, dataset: Dataset, file: Path, previous: Sequence[Path]) -> None:
        scan = functools.partial(_scan_for_parent, dataset, file, list(previous))
        self._process = run_in_child(scan, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def wait(self) -> ScanResult | None:
        """Return the result; None if the process was stopped.

        Raises:
            RuntimeError: The process has failed; the text is the last line of its stderr.
        """
        output, errors = self._process.communicate()
        if self._process.returncode < 0:
            return None
        if self._process.returncode:
            raise RuntimeError((errors.decode(errors="replace").strip().splitlines() or ["it printed nothing"])[-1])
        result: ScanResult = pickle.loads(output)  # noqa: S301  # from this process's child
        return result

    def stop(self) -> None:
        """Kill the process."""
        with suppress(OSError):
            self._process.kill()


def _scan_for_parent(dataset: Dataset, file: Path, previous: Sequence[Path]) -> ScanResult:
    parent = os.getppid()
    os.nice(NICENESS)
    return scan_dataset(dataset, file, previous, lambda: os.getppid() == parent)
