"""Callbacks that cannot be sent to the workers are refused before the launch."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from ultralytics_wb_ddp import ConfigurationError, WandbCallback
from ultralytics_wb_ddp.runs import stop_button
from ultralytics_wb_ddp.training.callback_transport import check_picklable


class Counter:
    """A callback that holds a lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def count(self, trainer: Any) -> None:
        pass


LOCK = threading.Lock()


@pytest.mark.parametrize(
    ("callback", "name"), [(Counter().count, "Counter.count"), (lambda _, lock=LOCK: lock, "<lambda>")]
)
def test_callback_that_cannot_be_pickled_is_named_with_its_event(callback: Callable[[Any], None], name: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        check_picklable({"on_train_end": [print], "on_train_start": [callback]})

    assert f"callback '{name}' of event 'on_train_start' cannot be sent to the processes that train" in str(
        refusal.value
    )
    assert "cannot pickle '_thread.lock' object" in str(refusal.value)


def test_damaged_handoff_is_an_error_when_the_callback_is_pickled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop_button, "training_started", threading.Event())
    callback = WandbCallback()
    monkeypatch.setenv("WANDB_RUN_ID", "abc")
    monkeypatch.setenv("ULTRALYTICS_WB_DDP", '{"version": 99}')

    with pytest.raises(ConfigurationError, match="version 99"):
        check_picklable({"on_train_start": [callback.on_train_epoch_start]})
