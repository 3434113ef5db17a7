"""Scan a dataset's files in a process of its own.

Threads of the training process would share its interpreter lock with the training. A drive that does not answer blocks
only the process of the scan.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.artifacts.dataset_fingerprint import Dataset, Fingerprint, describe_changes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


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
    """A process that calls :func:`scan_dataset`."""

    def __init__(self, dataset: Dataset, file: Path, previous: Sequence[Path]) -> None:
        request = {**asdict(dataset), "file": file, "previous": previous}
        self._request = json.dumps(request, default=str)  # paths
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ultralytics_wb_ddp.artifacts.dataset_scan"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C does not reach it; the scan stops when this process has ended
            text=True,
        )

    def wait(self) -> ScanResult | None:
        """Return the result; None if the process was stopped.

        Raises:
            RuntimeError: The process has failed; the text is the last line of its stderr.
        """
        output, errors = self._process.communicate(self._request)
        if self._process.returncode < 0:
            return None
        if self._process.returncode:
            raise RuntimeError((errors.strip().splitlines() or ["it printed nothing"])[-1])
        values = json.loads(output)
        return ScanResult(
            values["digest"], {name: SplitSummary(**part) for name, part in values["parts"].items()}, values["changes"]
        )

    def stop(self) -> None:
        """Kill the process."""
        with suppress(OSError):
            self._process.kill()


def main() -> None:
    """Scan the dataset that :class:`DatasetScan` describes on stdin; print the result."""
    parent = os.getppid()
    os.nice(NICENESS)
    request = json.load(sys.stdin)
    file, previous = Path(request.pop("file")), [Path(path) for path in request.pop("previous")]
    splits = {split: tuple(map(Path, paths)) for split, paths in request.pop("splits").items()}
    options: dict[str, Any] = {name: tuple(request.pop(name)) for name in ("classes", "label_suffixes", "formats")}
    dataset = Dataset(Path(request.pop("root")), splits, **options, **request)
    result = scan_dataset(dataset, file, previous, lambda: os.getppid() == parent)
    print(json.dumps(asdict(result)))  # noqa: T201  # read by DatasetScan.wait


if __name__ == "__main__":
    main()
