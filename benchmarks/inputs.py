"""What it costs to look at a dataset of many images while a training goes on: seconds, and what the training loses.

The training is one of a tiny model on the CPU that is busy all the time, the worst case for a neighbour.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path

import torch

from ultralytics_wb_ddp.artifacts.dataset_fingerprint import Dataset
from ultralytics_wb_ddp.artifacts.dataset_scan import DatasetScan

LABELS = "0 0.5 0.5 0.2 0.2\n" * 7


def make_files(root: Path, images: int) -> Dataset:
    """Write files as those of a dataset; nobody opens the images."""
    for kind, suffix, content in (("images", "jpg", "image"), ("labels", "txt", LABELS)):
        folder = root / kind / "train"
        folder.mkdir(parents=True)
        for number in range(images):
            (folder / f"{number:012d}.{suffix}").write_text(content)
    return Dataset(root, {"train": (root / "images/train",)}, ("thing",))


def steps_a_second(seconds: float, until: threading.Thread | None = None) -> tuple[int, float]:
    """Train until a time is over or a thread has ended; returns the number of steps and the seconds."""
    model = torch.nn.Sequential(*(torch.nn.Conv2d(8, 8, 3, padding=1) for _ in range(40)))
    images, start, steps = torch.rand(2, 8, 32, 32), time.perf_counter(), 0
    while until.is_alive() if until else time.perf_counter() - start < seconds:
        model(images).sum().backward()
        steps += 1
    return steps, time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        dataset = make_files(root / "data", wanted.images)
        for look in ("first", "second"):
            steps, seconds = steps_a_second(3.0)
            alone = steps / seconds
            thread = threading.Thread(target=DatasetScan(dataset, root / "files.tsv", [root / "files.tsv"]).wait)
            thread.start()
            steps, seconds = steps_a_second(0.0, until=thread)
            print(f"{look} look at {wanted.images} images: {seconds:.1f} s; the training loses", end=" ")
            print(f"{seconds - steps / alone:.1f} s; file: {(root / 'files.tsv').stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
