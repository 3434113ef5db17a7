"""What the curves cost by the number of classes, beside the stock callback's in the same process and offline run.

Run it with the numbers of classes: python benchmarks/curves.py 2 80 365 1203
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import wandb
from ultralytics.utils.callbacks import wb
from ultralytics.utils.metrics import DetMetrics, ap_per_class

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from table import Line  # noqa: E402  # found through the line above

from ultralytics_wb_ddp.metrics import evaluation_charts  # noqa: E402  # the same

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROUNDS = 3
INSTANCES = 6  # of each class
MANY = 365  # classes from which on it is to be ten times as fast
RIGHT = 0.8  # share of the objects whose class is found


def measure(numbers: Sequence[int] = (2, 80, 365, 1203)) -> Iterator[Line]:
    """Log the curves of so many classes in one offline run."""
    with tempfile.TemporaryDirectory() as folder:
        run = wandb.init(project="curves", dir=folder, mode="offline", settings={"silent": True})
        for classes in numbers:
            metrics = make_metrics(classes)
            ours = [seconds(lambda: run.log(evaluation_charts.curve_charts(metrics))) for _ in range(ROUNDS)]  # noqa: B023
            stock = [seconds(lambda: log_stock_curves(metrics)) for _ in range(ROUNDS)]  # noqa: B023
            most = 0.1 if classes >= MANY else None
            values = {"stock": stock, "ours": ours}
            yield Line("curves", f"curves of {classes} classes, time of the CPU", "s", values, most=most)
        run.finish()


def main() -> None:
    """Print what was measured."""
    for line in measure([int(text) for text in sys.argv[1:]] or (2, 80, 365, 1203)):
        print(line.text, flush=True)


def make_metrics(classes: int) -> Any:
    """Return what a validator has of a model that finds most objects."""
    rng = np.random.default_rng(0)
    metrics = DetMetrics()
    metrics.names = {index: f"class {index}" for index in range(classes)}
    target = np.repeat(np.arange(classes), INSTANCES)
    guess = np.where(rng.random(len(target)) < RIGHT, target, rng.integers(0, classes, len(target)))
    right = (guess == target)[:, None] & (rng.random((len(target), 10)) < np.linspace(0.9, 0.3, 10))
    metrics.box.nc = classes
    metrics.box.update(ap_per_class(right, rng.random(len(target)), guess, target, names=metrics.names)[2:])
    return metrics


def log_stock_curves(metrics: Any) -> None:
    """Log curves as the stock callback does."""
    for title, (x, y, x_title, y_title) in zip(metrics.curves, metrics.curves_results):
        wb._plot_curve(x, y, list(metrics.names.values()), f"stock/{title}", title, x_title, y_title)  # noqa: SLF001
    wandb.run.log({})


def seconds(action: Callable[[], Any]) -> float:
    """Return the time of the CPU that something takes, which other work on the machine does not change."""
    begun = time.process_time()
    action()
    return time.process_time() - begun


if __name__ == "__main__":
    main()
