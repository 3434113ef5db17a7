"""What the table of mistakes costs a training, as a share of the same training.

It trains for one epoch, where the share is the largest: the evaluation of the best checkpoint is done once, whatever
number of epochs. The first line of a task shows what the model gets wrong at the usual confidence; the second counts
every prediction, 300 an image, which is the most that a validator keeps.

Run it with tasks: python benchmarks/mistakes.py detect segment
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_SILENT", "true")
sys.path.insert(0, str(Path(__file__).parent.parent))

from ultralytics import YOLO

from ultralytics_wb_ddp import add_wandb_callback
from ultralytics_wb_ddp.metrics import mistake_collector, mistakes_table
from ultralytics_wb_ddp.testing.shapes_dataset import make_shapes_dataset

MODELS = {"detect": "", "segment": "-seg", "pose": "-pose", "obb": "-obb", "classify": "-cls"}
IMAGES, SIZE = 320, 320  # a quarter of the images is evaluated
EVERY = 1e-6  # confidence that everything has


def main() -> None:
    """Print the table."""
    spent: Counter[str] = Counter()
    measure(mistake_collector.MistakeCollector, "_guard", spent, "look")
    measure(mistake_collector.MistakeCollector, "gather", spent, "show")
    measure(mistakes_table, "mistakes_table", spent, "show")
    lines = ["| task | confidence from | training, s | evaluating, µs an image | showing 16, s | share |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    for task in sys.argv[1:] or ["detect", "segment"]:
        for confidence in (None, EVERY):
            spent.clear()
            taken = train(task, confidence)
            share = sum(spent.values()) / taken
            per_image = spent["look"] / (IMAGES / 4) * 1e6
            said = confidence or 0.25
            lines.append(f"| {task} | {said} | {taken:.1f} | {per_image:.0f} | {spent['show']:.2f} | {share:.2%} |")
    print("\n".join(lines))


def measure(owner: Any, name: str, spent: Counter[str], step: str) -> None:
    """Have the time that a function takes added up."""
    function = getattr(owner, name)

    def timed(*args: Any, **kwargs: Any) -> Any:
        begun = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            spent[step] += time.perf_counter() - begun

    setattr(owner, name, timed)


def train(task: str, confidence: float | None) -> float:
    """Train for an epoch and return how many seconds that takes."""
    with tempfile.TemporaryDirectory() as folder:
        data = make_shapes_dataset(Path(folder, "data"), images=IMAGES, classes=4, task=task, imgsz=SIZE)
        model = YOLO(f"yolo11n{MODELS[task]}.yaml")
        add_wandb_callback(model, project="mistakes", mode="offline")
        begun = time.perf_counter()
        model.train(
            data=str(data), epochs=1, imgsz=SIZE, batch=16, workers=2, device="cpu", conf=confidence, plots=False,
            deterministic=False, verbose=False, project=folder, name="train",
        )  # fmt: skip
        return time.perf_counter() - begun


if __name__ == "__main__":
    main()
