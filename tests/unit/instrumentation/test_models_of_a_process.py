"""Which callbacks a trainer gets while autolog is on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ultralytics import YOLO
from ultralytics.models.rtdetr.train import RTDETRTrainer
from ultralytics.models.yolo.detect import DetectionTrainer

from support.paths import TINY
from ultralytics_wb_ddp import ConfigurationError, WandbCallback, add_wandb_callback, autolog
from ultralytics_wb_ddp.instrumentation.autolog import AutologCallback


@pytest.fixture(autouse=True)
def _off_after_the_test() -> Iterator[None]:
    yield
    autolog(disable=True)


@pytest.fixture
def arguments(shapes: Path, tmp_path: Path) -> dict[str, Any]:
    """Arguments of a trainer."""
    return {"model": str(TINY), "data": str(shapes), "project": str(tmp_path), "device": "cpu", "plots": False}


def callbacks_of(owner: Any) -> set[WandbCallback]:
    """Return the callbacks of this package in a trainer or a model."""
    owners = [getattr(function, "__self__", None) for functions in owner.callbacks.values() for function in functions]
    return {each for each in owners if isinstance(each, WandbCallback)}


@pytest.mark.parametrize("kind", [DetectionTrainer, RTDETRTrainer])
def test_every_trainer_gets_a_callback_of_its_own(kind: type, arguments: dict[str, Any]) -> None:
    autolog(mode="disabled", tags=["a"])
    first, second = (kind(overrides=dict(arguments)) for _ in range(2))

    (callback,) = callbacks_of(first)
    assert isinstance(callback, AutologCallback)
    assert callback.options.tags == ("a",)
    assert callbacks_of(second).isdisjoint({callback})


def test_model_stays_as_it_is(arguments: dict[str, Any]) -> None:
    model = YOLO(TINY)
    autolog(mode="disabled")
    trainer = DetectionTrainer(overrides=arguments, _callbacks=model.callbacks)

    assert len(callbacks_of(trainer)) == 1
    assert callbacks_of(model) == set()


def test_callback_of_the_model_wins(arguments: dict[str, Any]) -> None:
    model = YOLO(TINY)
    autolog(mode="disabled")
    callback = add_wandb_callback(model, mode="disabled")
    trainer = DetectionTrainer(overrides=arguments, _callbacks=model.callbacks)

    assert callbacks_of(trainer) == {callback}


def test_disabled_autolog_adds_nothing(arguments: dict[str, Any]) -> None:
    autolog(mode="disabled")
    autolog(disable=True)

    assert callbacks_of(DetectionTrainer(overrides=arguments)) == set()


def test_later_call_replaces_the_options(arguments: dict[str, Any]) -> None:
    autolog(mode="disabled", project="first")
    autolog(mode="disabled", name="second")

    (callback,) = callbacks_of(DetectionTrainer(overrides=arguments))
    assert (callback.options.project, callback.options.name) == (None, "second")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"projct": "demo"}, "autolog: 'projct' is unknown; did you mean 'project'?"),
        ({"mistakes": -1}, "autolog: mistakes=-1: a whole number of images, 0 to 256, is expected"),
        ({"api_key": "x"}, "autolog: 'api_key' has no place here: set WANDB_API_KEY or call 'wandb login'"),
        ({"run_mode": "shared", "mode": "offline"}, "run_mode='shared' with mode='offline'"),
        ({"disable": True, "project": "demo"}, "autolog: disable=True with project='demo'"),
    ],
)
def test_wrong_option_is_an_error_at_the_call(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        autolog(**options)

    assert message in str(raised.value)
