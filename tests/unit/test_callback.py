"""The registration of the callback, its options and its refusals; nothing trains."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from ultralytics import YOLO

from support.paths import TINY
from ultralytics_wb_ddp import ConfigurationError, WandbCallback, add_wandb_callback, callbacks
from ultralytics_wb_ddp.runs import stop_button
from ultralytics_wb_ddp.runs.handoff import HANDOFF_VARIABLE, Handoff
from ultralytics_wb_ddp.wandb_client.run_file import find_run_files


@pytest.fixture(autouse=True)
def _no_run_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("WANDB_") or name in {HANDOFF_VARIABLE, "RANK"}:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stop_button, "training_started", threading.Event())  # pickling a callback sets it


@pytest.fixture
def model() -> YOLO:
    return YOLO(str(TINY))


def callbacks_among(functions: list[Any]) -> list[Any]:
    return [function for function in functions if isinstance(getattr(function, "__self__", None), WandbCallback)]


def test_one_object_over_all_events_stays_one_object_when_it_is_pickled(model: YOLO) -> None:
    add_wandb_callback(model)

    arrived = cloudpickle.loads(cloudpickle.dumps(model.callbacks))

    owners = {id(function.__self__) for functions in arrived.values() for function in callbacks_among(functions)}
    assert len(owners) == 1


def test_second_registration_replaces_the_first(model: YOLO) -> None:
    for event, function in callbacks.items():
        model.add_callback(event, function)
    add_wandb_callback(model, name="first")
    second = add_wandb_callback(model, name="second")

    for event in callbacks:
        assert callbacks_among(model.callbacks[event]) == [getattr(second, event)]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"model": object()}, TypeError, ["object", "ultralytics.YOLO(...)"]),
        ({"model": "yolo11n.pt"}, TypeError, ["'yolo11n.pt'", "str", "ultralytics.YOLO(...)"]),
        ({"run": "abc"}, TypeError, ["run='abc'", "wandb.init()"]),
        ({"projct": "a"}, ConfigurationError, ["'projct'", "did you mean 'project'?"]),
        ({"colour": "a"}, ConfigurationError, ["'colour'", "known are project"]),
        ({"project": ""}, ConfigurationError, ["project=''", "empty"]),
        ({"api_key": "a"}, ConfigurationError, ["'api_key'", "no place here"]),
    ],
    ids=["no-model", "weights", "no-run", "misspelt", "unknown", "empty", "of-a-manager"],
)
def test_bad_argument_is_an_error_before_the_training(
    model: YOLO, tmp_path: Path, arguments: dict[str, Any], error: type[Exception], words: list[str]
) -> None:
    with pytest.raises(error) as refusal:
        add_wandb_callback(**{"model": model, **arguments})

    assert [word for word in words if word not in str(refusal.value)] == []
    assert find_run_files(tmp_path) == []


def test_run_is_checked_where_wandb_is_not_imported(monkeypatch: pytest.MonkeyPatch, model: YOLO) -> None:
    monkeypatch.delitem(sys.modules, "wandb", raising=False)

    with pytest.raises(TypeError, match=r"run='abc' is of type str; give what wandb\.init\(\) returned"):
        add_wandb_callback(model, run="abc")

    assert "wandb" not in sys.modules


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"WANDB_RUN_ID": "a/b"}, ["'a/b'", "/"]),
        (
            {"WANDB_RUN_ID": "a", "ULTRALYTICS_WB_DDP": "{"},
            ["ULTRALYTICS_WB_DDP='{'", "not JSON", "unset ULTRALYTICS_WB_DDP"],
        ),
    ],
)
def test_bad_variable_is_an_error_before_the_training(
    monkeypatch: pytest.MonkeyPatch, model: YOLO, tmp_path: Path, variables: dict[str, str], words: list[str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ConfigurationError) as refusal:
        add_wandb_callback(model)

    assert [word for word in words if word not in str(refusal.value)] == []
    assert find_run_files(tmp_path) == []


def test_options_of_the_launchers_run_hold_unless_the_callback_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    of_the_launcher = {"checkpoints": "none", "rank_metrics": False, "run_mode": "new"}
    for name, value in Handoff("abc", "demo", options=of_the_launcher).to_env().items():
        monkeypatch.setenv(name, value)

    followed, overruled = WandbCallback().options, WandbCallback(strategy="main", checkpoints="all").options

    assert (followed.checkpoints, followed.rank_metrics, followed.run_mode) == ("none", False, "new")
    assert (overruled.checkpoints, overruled.rank_metrics, overruled.run_mode) == ("all", False, "auto")
