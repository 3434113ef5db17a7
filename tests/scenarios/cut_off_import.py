"""The run of an import that was cut off after its first epoch."""

from __future__ import annotations

import wandb

from scenarios.calls import run_named


def log_one_epoch(run_id: str) -> None:
    with wandb.init(project="demo", id=run_id) as run:
        run.log({"epoch": 1})


if __name__ == "__main__":
    run_named(globals())
