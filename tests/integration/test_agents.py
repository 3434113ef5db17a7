"""Agents of a sweep: trials in processes of their own, which an agent asks to stop."""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from ultralytics_wb_ddp.runs.trial_env import is_trial, stop_requested
from ultralytics_wb_ddp.sweeps import agents
from ultralytics_wb_ddp.sweeps.agents import AgentPool


class EarlyStops:
    """Commands to an agent: some trials, each to be stopped while it goes on, then the end."""

    def __init__(self, *run_ids: str) -> None:
        self._waiting = [{"type": "run", "run_id": run_id, "args": {"lr0": {"value": run_id}}} for run_id in run_ids]

    def ask(self, active: Collection[str]) -> list[dict[str, Any]]:
        if active:
            return [{"type": "stop", "run_id": run_id} for run_id in active]
        return [self._waiting.pop(0)] if self._waiting else [{"type": "exit"}]


def wait_for_a_request(parameters: dict[str, Any]) -> None:
    assert is_trial()
    assert parameters["lr0"] == os.environ["WANDB_RUN_ID"]
    deadline = time.monotonic() + 60
    while not stop_requested():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    Path(os.environ["WANDB_RUN_ID"]).touch()


def test_trial_that_is_stopped_early_ends_by_itself_and_the_next_one_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(agents, "HEARTBEAT", 0.1)  # seconds
    client, ended = EarlyStops("first", "second"), []
    pool = AgentPool(
        [(client, cloudpickle.dumps(wait_for_a_request))],
        environment={"WANDB_SWEEP_ID": "sweep"},
        folder=tmp_path,
        count=None,
        after_trial=ended.append,
    )
    pool.run()

    assert [(trial.run_id, trial.exit_code, trial.stopped) for trial in pool.trials] == [
        ("first", 0, True),
        ("second", 0, True),
    ]
    assert ended == pool.trials
    assert all((tmp_path / trial.run_id).exists() for trial in pool.trials)
    assert list(tmp_path.glob("*.stop")) == []
