"""A run that a rank without a run of its own has opened."""

from __future__ import annotations

import sys

from scenarios.calls import run_named
from ultralytics_wb_ddp.runs.open_runs import warn_of_unused_run


def open_a_run_that_gets_no_rows() -> None:
    warn_of_unused_run(None)
    assert "wandb" not in sys.modules

    import wandb

    with wandb.init(project="demo", id="theirs", mode="offline"):
        warn_of_unused_run("theirs")  # the launcher's, joined here
        warn_of_unused_run(None)
    warn_of_unused_run(None)  # it is finished


if __name__ == "__main__":
    run_named(globals())
