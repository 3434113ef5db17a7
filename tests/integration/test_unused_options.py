"""Managers and options that have no effect on a run get one clear message, and a right use none; without a training."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb

from ultralytics_wb_ddp import WandbManager, wandb_config
from ultralytics_wb_ddp.runs.misuse_warnings import unused_options


@pytest.fixture
def offline(no_s3: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Any]]:  # noqa: ARG001
    """Settings of a manager; whatever is open at the end is finished."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ULTRALYTICS_WB_DDP", raising=False)
    yield {"project": "demo", "mode": "offline"}
    if wandb.run is not None:
        wandb.run.finish()
    wandb.teardown()


def test_training_that_was_prepared_for_and_left_no_trace_is_told_once(
    offline: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "ultralytics_wb_ddp"), WandbManager({"wandb": offline}, "job") as manager:
        manager.prepare_for_training()
        manager.resume_after_training()

    assert [record.getMessage()[:38] for record in caplog.records] == ["nothing of a training was logged to run"[:38]]


@pytest.mark.parametrize("reason", ["rows", "failure", "shared"])
def test_manager_says_nothing_that_it_cannot_know(
    offline: dict[str, Any], caplog: pytest.LogCaptureFixture, reason: str
) -> None:
    options = {"run_mode": "new"} if reason == "shared" else {}
    manager = WandbManager({"wandb": offline | options}, "job")
    with caplog.at_level(logging.WARNING, "ultralytics_wb_ddp"):
        run, _ = manager.initialize()
        manager.prepare_for_training()
        if reason == "rows":  # of whatever logs there
            run.log({"accuracy": 1})
        manager.finish(exit_code=int(reason == "failure"))

    assert caplog.records == []


def test_settings_of_a_manager_that_adopts_a_run_are_named(
    offline: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    cfg = {"wandb": offline | {"tags": ["b"], "notes": "text"}}
    with (
        caplog.at_level(logging.WARNING, "ultralytics_wb_ddp"),
        wandb_config(job_type="of the block"),
        wandb.init(project="theirs", mode="offline", tags=["a"]),
        WandbManager(cfg, "job", "group"),
    ):
        pass

    (record,) = caplog.records
    assert record.getMessage().startswith(
        "project='demo', group='group', tags=['b'], notes='text' of cfg.wandb have no effect: run "
    )


def test_options_that_say_what_the_run_is_have_an_effect(offline: dict[str, Any]) -> None:
    said = {"project": "demo", "group": "g", "tags": ("a",), "notes": "n", "name": "x", "mode": "offline"}
    with wandb.init(project="demo", mode="offline", group="g", tags=["a", "b"], notes="n", name="x") as run:
        assert unused_options(said, run) == {}
        assert unused_options({"tags": ("c",), "mode": "online"}, run) == {"tags": ["c"], "mode": "online"}
    assert os.environ.get("WANDB_RUN_ID") is None
    assert offline
