"""A training while W&B is disabled says so and has no run."""

from __future__ import annotations

import logging

import pytest

from ultralytics_wb_ddp.config.options import RunOptions
from ultralytics_wb_ddp.distributed.topology import RankPlan
from ultralytics_wb_ddp.runs.misuse_warnings import run_ids_with_callback
from ultralytics_wb_ddp.runs.resolution import RunResolution, open_run


@pytest.mark.parametrize(
    ("mode", "cause"), [(None, "WANDB_MODE=disabled"), ("disabled", "mode='disabled'")], ids=["variable", "option"]
)
def test_disabled_training_names_the_cause(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, mode: str | None, cause: str
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled" if mode is None else "offline")
    options = RunOptions(project="demo", mode=mode)  # type: ignore[arg-type]
    with caplog.at_level(logging.INFO, "ultralytics_wb_ddp"):
        opened = open_run(RunResolution("skip", options, base_id="abc", plan=RankPlan("abc")))
    run_ids_with_callback.discard("abc")

    assert opened is None
    assert [record.getMessage() for record in caplog.records] == [
        f"W&B is disabled ({cause}): nothing of this training is logged"
    ]
