"""A sweep in its process: devices, places where it cannot run, and its id."""

from __future__ import annotations

from typing import Any

import pytest

from ultralytics_wb_ddp import ConfigurationError, get_wandb_sweep_id, run_sweep
from ultralytics_wb_ddp.sweeps.run_sweep import split_devices


def test_agents_share_the_devices_equally() -> None:
    assert split_devices([0, 1, 2, 3], 2) == [[0, 1], [2, 3]]
    assert split_devices("0,1,2,3", 2) == ["0,1", "2,3"]
    with pytest.raises(ConfigurationError, match="3 agents cannot share"):
        split_devices([0, 1, 2, 3], 3)


@pytest.mark.parametrize(
    ("environment", "arguments", "message"),
    [
        ({"LOCAL_RANK": "1"}, {}, r"in a worker \(LOCAL_RANK=1\)"),
        ({"WANDB_SWEEP_ID": "s", "WANDB_RUN_ID": "r", "WANDB_SWEEP_PARAM_PATH": "p"}, {}, "in a trial of a sweep"),
        ({"WANDB_MODE": "offline"}, {}, "a sweep needs W&B's server"),
        ({"WANDB_PROJECT": "demo"}, {"devices": "0,1"}, "parameters.device: agents that share the devices"),
        ({}, {"agents": 21}, "1 to 20"),
        ({}, {"count": 0}, "count=0"),
    ],
)
def test_sweep_that_cannot_run_here_is_refused(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], arguments: dict[str, Any], message: str
) -> None:
    for name in ("LOCAL_RANK", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ConfigurationError, match=message):
        run_sweep({"method": "grid", "parameters": {"device": {"value": "0"}}}, print, **arguments)


def test_sweep_id_is_known_in_trials_and_their_workers_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_SWEEP_ID", raising=False)
    assert get_wandb_sweep_id() is None

    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    assert get_wandb_sweep_id() == "abc"
