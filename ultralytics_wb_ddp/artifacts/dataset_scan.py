"""Looks at a dataset in a process beside the training, whose own threads would wait for each other.

A drive that does not answer holds up that process and nothing else.
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
    """What a split of a dataset consists of.

    Attributes:
        images: Number of images.
        labels: Number of those that have a label.
        size: Size of the images in bytes.
        digest: What changes with them and their labels.
    """

    images: int
    labels: int
    size: int
    digest: str


@dataclass(frozen=True)
class ScanResult:
    """What is known of a dataset once it has been looked at.

    Attributes:
        digest: What changes with anything in it.
        parts: Its splits by name.
        changes: What has changed since an earlier look, in words; empty if nothing has.
    """

    digest: str
    parts: dict[str, SplitSummary]
    changes: str


def scan_dataset(
    dataset: Dataset, file: Path, earlier: Sequence[Path], is_wanted: Callable[[], bool] | None = None
) -> ScanResult:
    """Look at a dataset.

    Args:
        dataset: Where its parts lie.
        file: Where its fingerprint is written to.
        earlier: Where that of an earlier look may lie, the likeliest first.
        is_wanted: Whether somebody waits for the result still.

    Raises:
        Stopped: Nobody does.
        OSError: The file cannot be written.
    """
    now = Fingerprint.compute(dataset, is_wanted)
    before = next((found for place in earlier if (found := Fingerprint.load(place))), None)
    now.save(file)
    parts = {}
    for split in dataset.splits:
        part = now.for_split(split)
        parts[split] = SplitSummary(*part.counts(), part.size(), part.digest)
    return ScanResult(now.digest, parts, describe_changes(before, now) if before and before != now else "")


class DatasetScan:
    """A process that looks at a dataset."""

    def __init__(self, dataset: Dataset, file: Path, earlier: Sequence[Path]) -> None:
        asked = {**asdict(dataset), "file": file, "earlier": earlier}
        self._asked = json.dumps(asked, default=str)  # paths
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ultralytics_wb_ddp.artifacts.dataset_scan"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is none of its business; it ends with the process that waits for it
            text=True,
        )

    def wait(self) -> ScanResult | None:
        """Wait for the result; None where it was stopped.

        Raises:
            RuntimeError: It has failed; the text is the last line that it said.
        """
        answer, complaint = self._process.communicate(self._asked)
        if self._process.returncode < 0:
            return None
        if self._process.returncode:
            raise RuntimeError((complaint.strip().splitlines() or ["it said nothing"])[-1])
        found = json.loads(answer)
        return ScanResult(
            found["digest"], {name: SplitSummary(**part) for name, part in found["parts"].items()}, found["changes"]
        )

    def stop(self) -> None:
        """End it; nobody waits for it any more."""
        with suppress(OSError):
            self._process.kill()


def main() -> None:
    """Answer what an :class:`Examination` asks."""
    parent = os.getppid()
    os.nice(NICENESS)
    asked = json.load(sys.stdin)
    file, earlier = Path(asked.pop("file")), [Path(place) for place in asked.pop("earlier")]
    splits = {split: tuple(map(Path, paths)) for split, paths in asked.pop("splits").items()}
    words: dict[str, Any] = {name: tuple(asked.pop(name)) for name in ("classes", "label_suffixes", "formats")}
    dataset = Dataset(Path(asked.pop("root")), splits, **words, **asked)
    found = scan_dataset(dataset, file, earlier, lambda: os.getppid() == parent)
    print(json.dumps(asdict(found)))  # noqa: T201  # the answer


if __name__ == "__main__":
    main()
