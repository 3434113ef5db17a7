"""A training while W&B is disabled says so and has no run."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import wandb

from ultralytics_wb_ddp.config.options import RunOptions
from ultralytics_wb_ddp.runs.handoff import Handoff
from ultralytics_wb_ddp.runs.misuse_warnings import run_ids_with_callback
from ultralytics_wb_ddp.runs.resolution import DISABLED_LAUNCHER, DISABLED_OPEN_RUN, open_main_run


@pytest.mark.parametrize(
    ("mode", "variable", "cause"),
    [
        (None, "disabled", "WANDB_MODE=disabled"),
        ("disabled", "offline", "mode='disabled'"),
        (None, "offline", DISABLED_OPEN_RUN),
        ("offline", "disabled", DISABLED_OPEN_RUN),
    ],
    ids=["variable", "option", "open-run", "open-run-though-online-is-asked"],
)
def test_disabled_training_names_the_cause(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, mode: Any, variable: str, cause: str
) -> None:
    monkeypatch.setenv("WANDB_MODE", variable)

    assert causes(caplog, wandb.init(mode="disabled"), None, RunOptions(project="demo", mode=mode)) == [cause]


def test_training_of_a_launcher_with_a_disabled_run_names_it(caplog: pytest.LogCaptureFixture) -> None:
    launcher = Handoff("abc", mode="disabled")

    assert causes(caplog, None, launcher, RunOptions()) == [DISABLED_LAUNCHER]


def causes(caplog: pytest.LogCaptureFixture, user_run: Any, handoff: Handoff | None, options: RunOptions) -> list[str]:
    """Open the run of a training. Return the causes that messages name for none."""
    caplog.clear()
    with caplog.at_level(logging.INFO, "ultralytics_wb_ddp"):
        assert open_main_run(user_run, handoff, options, {}, None) is None
    run_ids_with_callback.discard("abc")
    messages = [record.getMessage() for record in caplog.records]
    assert all(message.endswith(": nothing of this training is logged") for message in messages)
    return [message.removeprefix("W&B is disabled (").rpartition("):")[0] for message in messages]
