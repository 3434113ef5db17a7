"""Groups that cannot be are refused."""

from __future__ import annotations

from typing import Any

import pytest

from ultralytics_wb_ddp import ConfigurationError, WandbManager

CFG = {"wandb": {"project": "demo", "mode": "offline"}}


@pytest.mark.parametrize(
    ("wandb", "arguments", "message"),
    [
        ({}, {"runs": 0}, "runs=0: the number of trainings, 1 or more"),
        ({}, {"runs": True}, "runs=True: the number of trainings"),
        ({"id": "x"}, {"runs": 2}, "cfg.wandb.id='x' cannot be the id of all runs of group 'cv'"),
        ({"group": "x"}, {"runs": 2}, "cfg.wandb.group='x', but the group is called 'cv'"),
        ({}, {"runs": 2, "job_type": "summary"}, "job_type='summary' is that of the run with the statistics"),
        ({}, {"runs": 2, "job_type": "a/b"}, "W&B refuses / in a run id"),
    ],
)
def test_group_that_cannot_be_is_refused(wandb: dict[str, Any], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message.replace("(", r"\(")):
        WandbManager.group({"wandb": {"project": "demo", **wandb}}, "cv", **arguments)


def test_processes_of_torchrun_cannot_agree_on_what_is_left_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")

    with pytest.raises(ConfigurationError, match="resume=True in 2 processes"):
        WandbManager.group(CFG, "cv", 2, resume=True)


def test_group_outside_of_a_with_statement_is_refused() -> None:
    with pytest.raises(RuntimeError, match="group 'cv' is used in a with statement"):
        next(iter(WandbManager.group(CFG, "cv", 2)))
