"""What a fault did to a run, as a line of the table that the test report ends with."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from wandb_server import StoredRun, WandbServer

VARIABLE = "ULTRALYTICS_WB_DDP_MEASURES"  # the file that the processes of pytest write lines to
COLUMNS = ("what happens", "runs", "sessions", "requests", "rows lost", "state")


def epochs_of(run: StoredRun) -> list[int]:
    return [row["epoch"] for row in run.history if "epoch" in row]


def assert_is_one_whole_run(
    fault: str, server: WandbServer, *, epochs: list[int], state: str, exit_code: int | None
) -> StoredRun:
    """Assert that there is one run with all rows, in order, and in its true state; return it.

    Args:
        fault: Description of what happened to the training.
        server: What arrived.
        epochs: The epochs whose rows were logged.
        state: State that the run must be in.
        exit_code: Exit code that it must have.
    """
    (run,) = server.runs
    found = epochs_of(run)
    lost = len(run.destroyed_rows) + sum(max(0, epochs.count(epoch) - found.count(epoch)) for epoch in set(epochs))
    ends = f"{run.state}, {run.exit_code}" if run.exit_code else run.state
    note([fault, len(server.runs), run.sessions, len(server.requests), lost, ends])
    steps = [row["_step"] for row in run.history]
    assert lost == 0, f"{lost} rows are lost: {found}"
    assert found == epochs, f"{found} instead of {epochs}"
    assert steps == list(range(len(steps))), f"steps {steps}"
    assert (run.state, run.exit_code) == (state, exit_code), f"{run.state}, {run.exit_code}"
    return run


def note(line: list[Any]) -> None:
    """Add a line to the table."""
    if VARIABLE in os.environ:
        with Path(os.environ[VARIABLE]).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def table() -> str:
    """Return the table in Markdown."""
    file = Path(os.environ[VARIABLE])
    lines = sorted(json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()) if file.exists() else []
    rows = [COLUMNS, ["---"] * len(COLUMNS), *lines]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows) if lines else ""
