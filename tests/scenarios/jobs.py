"""Jobs that a script runs, and the command as torchrun calls it."""

from __future__ import annotations

import os

from scenarios.calls import run_named
from ultralytics_wb_ddp import run_job, wandb_config
from ultralytics_wb_ddp.cli.main import main


def plain_mapping() -> None:
    train = {"data": os.environ["DATA"], "epochs": 1, "imgsz": 64, "batch": 8, "workers": 0, "device": "cpu"}
    train |= {"plots": False, "project": "runs", "name": "x"}
    with wandb_config(project="block", mode="offline"):
        result = run_job({"model": os.environ["MODEL"], "train": train}, name="plain")
    assert result.metrics.box.map >= 0
    print(result.run_id, result.url, result.save_dir)


def command(*words: str) -> None:
    main(words)


if __name__ == "__main__":
    run_named(globals())
