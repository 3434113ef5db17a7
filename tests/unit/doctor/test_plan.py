"""The forecast: which ranks log, and what the run holds."""

from __future__ import annotations

import pytest
import wandb

from ultralytics_wb_ddp.config.options import WandbConfig
from ultralytics_wb_ddp.doctor.finding import DoctorRequest
from ultralytics_wb_ddp.doctor.plan import make_forecast


@pytest.mark.parametrize(
    ("run_mode", "mode", "told"),
    [
        ("auto", "offline", "4 processes; only rank 0 logs"),
        ("new", "offline", "4 processes; each rank logs, into a run of its own in one group"),
        ("shared", "online", "4 processes; each rank logs into the one run, which they share"),
        ("shared", "offline", "none: run_mode='shared' with mode='offline': W&B's shared mode needs its server"),
    ],
)
def test_plan_says_which_ranks_log(run_mode: str, mode: str, told: str) -> None:
    request = DoctorRequest(WandbConfig(project="demo", mode=mode, run_mode=run_mode), device="0,1,2,3")

    assert told in " | ".join(text for _, text in make_forecast(request, wandb.Settings()).lines())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "the best checkpoint (artifact run_<id>_model, as large as the model)"),
        ({"checkpoints": "best+last"}, "the best and the last checkpoint (artifact run_<id>_model, as large as the"),
        (
            {"checkpoint_store": "s3://bucket/runs"},
            "the best checkpoint (artifact run_<id>_model, in s3://bucket/runs)",
        ),
        ({"checkpoints": "none"}, None),
    ],
)
def test_plan_says_which_checkpoints_the_run_holds(options: dict[str, str], told: str | None) -> None:
    request = DoctorRequest(WandbConfig(project="demo", mode="offline", **options))

    holds = " | ".join(make_forecast(request, wandb.Settings()).uploads)
    assert told in holds if told else "checkpoint" not in holds
