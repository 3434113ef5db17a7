"""Whole trainings in two processes, interleaved: their time, start, epochs and requests, and ranks that do not log."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from table import Line
from trainings import Training, TrainingFailedError, Trainings
from wandb_server import WandbServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Ours opens the run in the first of them, the stock callback in the last; it imports wandb with Ultralytics, before.
START = ("on_pretrain_routine_start", "on_pretrain_routine_end")
EPOCH = (
    "on_train_epoch_start",
    "on_train_batch_start",
    "on_train_batch_end",
    "on_train_epoch_end",
    "on_val_start",
    "on_val_batch_start",
    "on_val_batch_end",
    "on_val_end",
    "on_fit_epoch_end",
    "on_model_save",
)
END = ("on_train_end", "teardown")
LEAN = " lean"  # without what the stock callback has not
LEAN_OPTIONS = {"inputs": False, "mistakes": 0, "rank_metrics": False}
WAYS = ("bare", "stock", "stock+run", "attach", f"attach{LEAN}", "new", f"new{LEAN}", "resume")
WITH_RUN = "stock: with the run that its script has made"
NAMES = {"attach": "run open in the launcher", "new": "new run", "resume": "run closed and resumed"}


def measure(trainings: Trainings, rounds: int, epochs: int) -> Iterator[Line]:
    """Train in each way, one after the other, so many times."""
    found: dict[str, list[Training]] = {logger: [] for logger in WAYS}
    traffic: dict[str, list[tuple[int, int]]] = {logger: [] for logger in WAYS}
    for number in range(rounds):
        for logger in WAYS if number % 2 else reversed(WAYS):
            with WandbServer() as server:
                options = LEAN_OPTIONS if logger.endswith(LEAN) else {}
                way = logger.removesuffix(LEAN)
                one = trainings.train(way, epochs=epochs, options=options, environment=server.environment)
                found[logger].append(one)
                sizes = [len(request.raw) for request in list(server.requests)]
                traffic[logger].append((len(sizes), sum(sizes)))
    remark_of_wandb = _try_wandb(trainings)

    def line(text: str, unit: str, value: Callable[[Training], float], ours: str, **more: Any) -> Line:
        trained = {"bare": found["bare"], "stock": found["stock"], "ours": found[ours]}
        values = {logger: [value(one) for one in measured] for logger, measured in trained.items()}
        return Line("whole", text, unit, values, **more)

    middle = range(1, epochs - 1)
    for way, most in (("attach", 0.5), ("new", None), ("resume", None)):
        yield line(f"until a run can log: {NAMES[way]}", "s", _until_ready, way, most=most)
    yield line("all before the first epoch", "s", lambda one: sum(one.events(*START)), "attach")
    for lean, text in ((LEAN, " of what the stock callback logs"), ("", "")):
        yield line(
            f"an epoch{text}, without plots", "ms", lambda one: _per_epoch(one, middle), f"attach{lean}", most=0.5
        )
    yield line("an epoch of one second", "ms", lambda one: _per_epoch(one, middle), "attach", against="", most=10.0)
    yield line("the end", "s", lambda one: sum(one.events(*END)), "attach")
    yield line(
        "memory of a rank that does not log", "MiB", lambda one: one.ranks[1]["memory"], "attach", against="bare"
    )
    yield line("its time to the first epoch", "s", lambda one: one.ranks[1]["began"], "attach", against="bare")
    yield line("its further processes", "", lambda one: one.ranks[1]["processes"], "attach", against="bare")
    for lean, text in ((LEAN, "as much as the stock callback logs"), ("", "with all that is logged")):
        for whom, most in (("stock", 1.0), ("bare", 1.02)):
            title = f"whole training, {text}" if whom == "stock" else f"whole training beside nothing, {text}"
            yield line(title, "s", lambda one: one.seconds, f"new{lean}", against=whom, most=most)
        sent = {"stock": traffic["stock+run"], "ours": traffic[f"attach{lean}"]}
        for counted, unit, place, scale in (("requests", "", 0, 1), ("bytes", "kB", 1, 1000)):
            values = {logger: [one[place] / scale for one in measured] for logger, measured in sent.items()}
            yield Line("whole", f"{counted} of a run's life, {text}", unit, values, most=1.0, remark=WITH_RUN)
    yield Line("whole", "W&B's own integration", "", {}, remark=remark_of_wandb)
    yield from _with_plots(trainings, rounds)


def _with_plots(trainings: Trainings, rounds: int) -> Iterator[Line]:
    """Compare the first epoch of trainings with plots, which has the pictures of it."""
    values: dict[str, list[float]] = {"stock": [], "ours": []}
    for _ in range(rounds):
        for logger, way in (("stock", "stock"), ("ours", "attach")):
            one = trainings.train(way, epochs=2, plots=True)
            values[logger].append(_per_epoch(one, range(1)))
    yield Line("whole", "an epoch, with plots", "ms", values, most=0.5)


def _until_ready(training: Training) -> float:
    """Return the seconds in callbacks until the run can log."""
    is_stock = training.logger.startswith("stock")
    return sum(training.events(*(START if is_stock else START[:1])))


def _per_epoch(training: Training, epochs: range) -> float:
    """Return the median of what callbacks take in an epoch on rank 0, in milliseconds."""
    sums = [sum(training.events(*EPOCH, epochs=range(epoch, epoch + 1))) for epoch in epochs]
    return statistics.median(sums) * 1000


def _try_wandb(trainings: Trainings) -> str:
    """Say what becomes of W&B's own integration."""
    said = []
    for processes in (1, 2):
        name = "one process" if processes == 1 else "two processes"
        try:
            trainings.train("wandb", processes=processes, epochs=2)
            said.append(f"{name}: trains")
        except TrainingFailedError as error:
            said.append(f"{name}: {error}")
    return f"in {'; in '.join(said)}"
