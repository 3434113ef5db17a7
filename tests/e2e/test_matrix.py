"""Releases of Ultralytics and of wandb against the usages of the README; each cell is a real training in two processes.

Without ``ULTRALYTICS_RELEASES`` and ``WANDB_RELEASES``, which name what is tried with each other, the cells are a
choice in which each era of the stock callback, of Ultralytics' launch and of the patches occurs, and the oldest wandb.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass

import pytest
from wandb_server import StoredRun, WandbServer

from support.jobs import END, EPOCHS, NIGHTLY, Job, Patch, RunJob, wait_until_closed
from support.releases import INSTALLED, NAMED, Releases, number_of
from ultralytics_wb_ddp.wandb_client.run_file import RecordedRun

PASSES_CALLBACKS = (8, 4, 140)  # the first release whose launch takes callbacks along
NEEDS_NO_PLOTS = (8, 3, 32)  # before, the stock callback needs plots, and something on them
KINDS = {"function", "method", "lambda", "partial", "module"}  # of the user's callbacks


@dataclass(frozen=True)
class Usage:
    """The way of a run to the workers.

    Attributes:
        function: The user's code, in the scenario.
        online: Whether the run is one of the server's.
        patched: Whether the stock callback logs, patched.
    """

    function: str
    online: bool = False
    patched: bool = False


USAGES = {
    "A": Usage("users_run"),
    "B": Usage("managers_run", online=True),
    "C": Usage("callbacks_by_hand"),
    "patch-open": Usage("patched_with_open_run", patched=True),
    "patch-closed": Usage("patched_with_closed_run", online=True, patched=True),
}

CHOICE = [
    ("8.3.0", "0.28.1", "A"),
    ("8.3.0", INSTALLED, "patch-closed"),
    ("8.3.199", INSTALLED, "A"),
    ("8.4.139", INSTALLED, "C"),
    ("8.4.139", INSTALLED, "patch-open"),
    ("8.4.183", INSTALLED, "B"),
    ("8.4.183", INSTALLED, "patch-closed"),
    (INSTALLED, "0.28.1", "patch-open"),
]
IN_EVERY_RUN = ("8.4.139", INSTALLED, "C")  # the last release whose launch leaves the callbacks behind
PRODUCT = [
    (ultralytics, wandb, usage)
    for usage, wandb, ultralytics in itertools.product(
        USAGES, NAMED["wandb"] or [INSTALLED], NAMED["ultralytics"] or [INSTALLED]
    )
]
CELLS = [pytest.param(*cell, id="-".join(cell)) for cell in PRODUCT]
if not any(NAMED.values()):
    CELLS = [pytest.param(*cell, id="-".join(cell), marks=() if cell == IN_EVERY_RUN else NIGHTLY) for cell in CHOICE]


@pytest.mark.parametrize(("ultralytics", "wandb", "usage"), CELLS)
def test_training_is_one_run(
    run_job: RunJob, releases: Releases, patch: Patch, ultralytics: str, wandb: str, usage: str
) -> None:
    release, recipe = releases.ultralytics(ultralytics), USAGES[usage]
    path = releases.path(patch(release) if recipe.patched else release, wandb)
    plots = wandb != INSTALLED or number_of(release) < NEEDS_NO_PLOTS  # which take a good part of the time

    with WandbServer() as server:
        server.backend.count_lag = 3
        variables = server.environment if recipe.online else {}
        words = (recipe.function, "plots" if plots else "no-plots")
        job = run_job("matrix.py", *words, PYTHONPATH=path, **variables)
        wait_until_closed(server)
        (run,) = server.runs if recipe.online else job.runs

    assert (run.state, run.exit_code) == ("finished", 0)
    assert not getattr(run, "destroyed_rows", [])
    rows = [{key for key in row if not key.startswith("_")} for row in run.history]
    if usage != "C":
        assert (rows.pop(0), rows.pop()) == ({"before"}, {"after"})
    assert [row["_step"] for row in run.history] == list(range(len(run.history)))
    assert any("results" in row for row in rows) == plots
    assert any(artifact.type == "model" for artifact in run.artifacts)
    if recipe.patched:
        assert_is_what_stock_logs(run)
    else:
        assert [row["epoch"] for row in run.history if "epoch" in row] == [*EPOCHS, END]
        assert all({"train/box_loss", "lr/pg0", "val/box_loss", "metrics/mAP50(B)"} <= row for row in rows[:2])
        assert {"model/parameters", "per_class_metrics"} <= set().union(*rows)
        assert any("curves/F1-Confidence(B)_table" in row for row in rows) == plots
        assert "could not be logged" not in job.output
        assert_users_callbacks_ran_in_every_rank(job, is_launch_rewritten=number_of(release) < PASSES_CALLBACKS)


def assert_is_what_stock_logs(run: RecordedRun | StoredRun) -> None:
    """Assert that all that the stock callback logs of a training is there, and that each epoch is one row."""
    trained = [row for row in run.history if "train/box_loss" in row]
    assert [row["epoch"] for row in trained] == [1, 2]
    assert all({"lr/pg0", "val/box_loss", "metrics/mAP50(B)"} <= set(row) for row in trained)
    assert sum("model/parameters" in row for row in run.history) == 1
    assert sum("metrics/mAP50(B)" in row for row in run.history) == len(EPOCHS)
    config = run.values if isinstance(run, StoredRun) else run.config
    assert (config["epochs"], config["imgsz"]) == ("mine", 64)  # the launcher's value stays


def assert_users_callbacks_ran_in_every_rank(job: Job, *, is_launch_rewritten: bool) -> None:
    """Assert that each ran once an epoch, from Ultralytics' own start file where that takes callbacks along."""
    for rank in (0, 1):
        ran = (job.directory / f"rank-{rank}.txt").read_text().split()
        assert Counter(ran) == dict.fromkeys(KINDS, EPOCHS[-1])
    assert (job.directory / "wandb-1").read_text() == "False"
    assert ("b64decode" in (job.directory / "start.py").read_text()) == is_launch_rewritten
