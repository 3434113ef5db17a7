"""What a batch costs on the training's thread where every tenth one is logged."""

from __future__ import annotations

from collections import defaultdict
from statistics import mean
from typing import TYPE_CHECKING

from table import Line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trainings import Trainings

INTERVAL = 10
EPOCHS = 4
EVENTS = ("on_train_batch_start", "on_batch_end", "on_train_batch_end")


def measure(trainings: Trainings) -> Iterator[Line]:
    """Train once, with small batches."""
    arguments = {"processes": 1, "images": 400, "batch": 2, "epochs": EPOCHS}
    training = trainings.train("attach", options={"batch_interval": INTERVAL}, **arguments)
    totals: dict[int, float] = defaultdict(float)
    batch = 0
    for event, epoch, seconds in training.ranks[0]["events"]:
        if event == "on_train_batch_start":
            batch += 1
        if event in EVENTS and epoch:
            totals[batch] += seconds * 1e6
    logged = [value for number, value in totals.items() if number % INTERVAL == 0]
    others = [value for number, value in totals.items() if number % INTERVAL]
    yield Line("batches", "a batch that is not logged, mean", "µs", {"ours": [mean(others)]}, against="", most=50)
    yield Line("batches", "a batch that is logged, mean", "µs", {"ours": [mean(logged)]}, against="", most=300)
