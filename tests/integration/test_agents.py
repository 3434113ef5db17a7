"""Agents of a sweep: trials in processes of their own, which an agent asks to stop."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import wandb
from wandb_server import WandbServer

from support.jobs import wait_until_closed
from support.managers import clean_environment
from ultralytics_wb_ddp.runs.trial_env import get_wandb_sweep_id, is_trial, stop_requested
from ultralytics_wb_ddp.sweeps import agents
from ultralytics_wb_ddp.sweeps.agents import AgentPool
from ultralytics_wb_ddp.sweeps.sweep_api import create_sweep
from ultralytics_wb_ddp.wandb_client.internals import SweepAgentClient


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


def test_new_sweep_leaves_the_variables_of_this_process_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean_environment(monkeypatch, tmp_path)
    monkeypatch.setenv("WANDB_PROJECT", "of-the-user")
    with WandbServer() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        wandb.teardown()
        create_sweep({"method": "grid", "parameters": {"depth": {"values": [1]}}}, "team", "demo")
    wandb.teardown()

    assert os.environ["WANDB_PROJECT"] == "of-the-user"
    assert "WANDB_ENTITY" not in os.environ


def log_or_exit(parameters: dict[str, Any]) -> None:
    if parameters["depth"] == 2:
        sys.exit(3)  # before it has a run
    wandb.init(project="another").log({"loss": 3, "sweep": get_wandb_sweep_id()})


def test_trials_are_runs_each_in_its_true_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clean_environment(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(agents, "HEARTBEAT", 0.1)  # seconds
    with WandbServer() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        wandb.teardown()  # the client reads its settings once
        sweep = create_sweep({"method": "grid", "parameters": {"depth": {"values": [1, 2]}}}, "team", "demo")
        pool = AgentPool(
            [(SweepAgentClient(sweep.entity, sweep.project, sweep.id), cloudpickle.dumps(log_or_exit))],
            environment={"WANDB_SWEEP_ID": sweep.id, "WANDB_ENTITY": sweep.entity, "WANDB_PROJECT": sweep.project},
            folder=tmp_path,
            count=None,
            after_trial=None,
        )
        pool.run()
        wait_until_closed(server)
    wandb.teardown()

    well, failed = server.runs
    assert [trial.exit_code for trial in pool.trials] == [0, 3]
    assert (well.state, well.exit_code, failed.state, failed.exit_code) == ("finished", 0, "failed", 3)
    assert {(run.entity, run.project, run.sweep) for run in server.runs} == {("team", "demo", sweep.id)}
    assert well.history[0] | {"loss": 3, "sweep": sweep.id} == well.history[0]
    assert well.values == {"depth": 1}
