"""A process that says of itself that it trains."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

from scenarios.calls import run_named
from ultralytics_wb_ddp.runs.run_record import RunRecord


def train_for_a_minute(directory: str) -> None:
    run = SimpleNamespace(id="abc", project="demo", entity="team", offline=True)
    RunRecord.of_run(run, None, {}).save(Path(directory))
    print("saved", flush=True)
    time.sleep(60)


if __name__ == "__main__":
    run_named(globals())
