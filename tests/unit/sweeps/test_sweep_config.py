"""What is checked of a sweep before anything is started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ultralytics_wb_ddp import ConfigurationError
from ultralytics_wb_ddp.sweeps.sweep_config import (
    SweepConfig,
    check_objective,
    check_parameters,
    sweep_path,
    train_arguments,
)
from ultralytics_wb_ddp.utils.serialization import to_plain


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"epochs": 3.0}, {"epochs": 3}),
        ({"epochs": "3.0"}, {"epochs": 3}),
        ({"batch": 16.0, "imgsz": 64.0}, {"batch": 16, "imgsz": 64}),
        ({"lr0": "0.01"}, {"lr0": 0.01}),
        ({"lr0": 1.0}, {"lr0": 1.0}),
        ({"cos_lr": "true"}, {"cos_lr": True}),
        ({"optimizer": "SGD"}, {"optimizer": "SGD"}),
    ],
)
def test_parameters_get_the_types_of_training_arguments(given: dict[str, Any], meant: dict[str, Any]) -> None:
    arguments = train_arguments(given, "sweep")

    assert arguments == meant
    assert [type(value) for value in arguments.values()] == [type(value) for value in meant.values()]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"lr_0": {"value": 0.1}}, r"'lr_0' is no training argument .* did you mean 'lr0'"),
        ({"epochs": {"values": [1, 2.5]}}, r"epochs.*2\.5.*int"),
        ({"epochs": {"min": 1.0, "max": 5.0}}, r"1 instead of 1\.0"),
        ({"epochs": {"distribution": "q_uniform", "min": 1, "max": 5, "q": 0.5}}, "whole numbers"),
        ({"lr0": {"min": 0, "max": 0.1}}, "write both bounds as whole numbers, or both with a point"),
        ({"lr0": {"values": 0.1}}, "value, values, or min and max are expected"),
        ({"lr0": 0.1}, r"lr0=0\.1; value, values, or min and max are expected"),
        ({"augment": {"parameters": {"fliplr": {"value": 0.1}}}}, "augment is nested"),
        ({"lrO": {"distribution": "normal", "mu": 0.1, "sigma": 0.1}}, "'lrO' is no training argument"),
    ],
)
def test_parameter_that_cannot_work_is_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check_parameters(parameters, "sweep.yaml")


def test_parameters_that_can_work_are_not_refused() -> None:
    whole = {"epochs": {"min": 1, "max": 5}, "batch": {"distribution": "q_uniform", "min": 8, "max": 64, "q": 8}}
    numbers = {"lr0": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-1}, "box": {"min": 1.0, "max": 9.0}}
    check_parameters({**whole, **numbers, "momentum": {"distribution": "normal", "mu": 0.9}}, "sweep.yaml")
    check_parameters({"my_depth": {"values": [1, 2]}}, "sweep.yaml", allow_others=True)


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ({"methd": "grid"}, "'methd' is unknown; did you mean 'method'"),
        ({"method": "grid"}, "parameters is missing"),
        ({"method": "hyperband", "parameters": {"lr0": {"value": 1}}}, "choose one of grid, random, bayes"),
        ({"method": "bayes", "parameters": {"lr0": {"value": 1}}}, "bayes needs a metric"),
        (
            {"method": "grid", "parameters": {"lr0": {"value": 1}}, "early_terminate": {"type": "hyperband"}},
            "early_terminate needs a metric",
        ),
        (
            {"method": "grid", "parameters": {"lr0": {"value": 1}}, "metric": {"name": "a", "goal": "max"}},
            "choose one of minimize, maximize",
        ),
        ({"method": "grid", "parameters": {"lr0": {"value": 1}}, "program": "train.py"}, "W&B's own agent"),
        ("no-such-file.yaml", "cannot be read"),
    ],
)
def test_sweep_that_cannot_work_is_refused(definition: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        SweepConfig.read(definition)


def test_what_is_said_on_the_command_line_gets_to_the_sweep_and_to_the_file_of_its_job(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/small.yaml").write_text("model: yolo11n.pt\ntrain: {epochs: 5, batch: '${oc.env:BATCH}'}\n")
    (tmp_path / "sweep.yaml").write_text("method: grid\nparameters: {lr0: {value: 0.1}}\njob: jobs/small.yaml\n")

    config = SweepConfig.read(tmp_path / "sweep.yaml", ["method=random", "job.train.epochs=3"])

    assert config.definition == {"method": "random", "parameters": {"lr0": {"value": 0.1}}}
    assert to_plain(config.job) == {
        "model": "yolo11n.pt",
        "train": {"epochs": 3, "batch": "${oc.env:BATCH}"},
        "name": "small",
    }


def test_objective_that_no_training_logs_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"did you mean .*'metrics/mAP50-95\(B\)'"):
        check_objective("metrics/mAP50-95", "sweep.yaml")
    for name in ("metrics/mAP50-95(B)", "metrics/mAP50(M)", "metrics/accuracy_top1", "val/box_loss"):
        check_objective(name, "sweep.yaml")


def test_sweep_is_named_by_id_path_or_address() -> None:
    assert sweep_path("abc") == "abc"
    assert sweep_path("team/demo/abc") == "team/demo/abc"
    assert sweep_path("https://wandb.ai/team/demo/sweeps/abc?nw=1") == "team/demo/abc"
    with pytest.raises(ConfigurationError, match="is no sweep; give entity/project/id"):
        sweep_path("a/b/c/d")
