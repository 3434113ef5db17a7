"""The stock callback is found in a trainer by its module, and is off for that training only."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from types import SimpleNamespace
from typing import Any

import cloudpickle
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils.callbacks import mlflow, wb

from ultralytics_wb_ddp.training.stock_callback import is_stock, switch_off_stock_callback


def made_by_stock(expression: str) -> Any:
    """Return a function as the stock callback would make it."""
    return eval(expression, vars(wb))


def test_stock_functions_are_told_from_others() -> None:
    made = made_by_stock("lambda run: lambda _: run")(None)

    def made_by_user(trainer: Any) -> None:
        wb.on_train_end(trainer)

    assert all(map(is_stock, [wb.on_train_end, made, partial(partial(wb.on_train_end), 1)]))
    assert is_stock(cloudpickle.loads(cloudpickle.dumps(made)))  # as it arrives in a worker
    assert not any(map(is_stock, [mlflow.on_train_end, partial(print), print, made_by_user, object()]))


def test_callbacks_beside_the_stock_callback_run_wherever_it_stands() -> None:
    ran: list[str] = []

    class Ours:
        def event(self, trainer: Any) -> None:
            ran.append("ours")
            switch_off_stock_callback(trainer, self)

    def note(name: str) -> Any:
        return lambda _: ran.append(name)

    stock = made_by_stock("lambda trainer: trainer.ran.append('stock')")
    functions = [note("first"), stock, Ours().event, note("second"), stock, note("third")]
    trainer = SimpleNamespace(callbacks=defaultdict(list, event=functions, other=[stock]), ran=ran)
    for _ in range(2):
        BaseTrainer.run_callbacks(trainer, "event")
    BaseTrainer.run_callbacks(trainer, "other")

    assert ran == ["first", "stock", "ours", "second", "third", "first", "ours", "second", "third"]
