"""A run is opened without the part of wandb that only its launch needs, and with it once a script has imported it."""

from __future__ import annotations

import sys
from typing import Any

import wandb

from scenarios.calls import run_named
from ultralytics_wb_ddp import WandbManager

CFG = {"wandb": {"project": "demo", "mode": "offline"}}


def open_two_runs() -> None:
    before = set(sys.modules)  # older releases of wandb import it with themselves
    assert wandb.run is None
    with WandbManager(CFG, "job"):
        print("imported at once:", "wandb.sdk.launch" in sys.modules.keys() - before)

    from wandb.sdk.launch import manage_wandb_config
    from wandb.sdk.launch.inputs.internal import StagedLaunchInputs

    manage_wandb_config(include=["lr"])
    applied: list[str] = []
    apply = StagedLaunchInputs.apply

    def note_and_apply(staged: Any, run: Any) -> None:
        applied.append(run.id)
        apply(staged, run)

    StagedLaunchInputs.apply = note_and_apply
    with WandbManager(CFG, "job") as manager:
        print("applied:", applied == [manager.run.id])


if __name__ == "__main__":
    run_named(globals())
