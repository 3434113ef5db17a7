"""A training in a Flyte task, in the run that W&B's plugin for Flyte has made for the task."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conftest import END, EPOCHS, PRELUDE, Job, RunJob
from ultralytics_wb_ddp.testing import RecordedRun

pytest.importorskip("flyteplugins.wandb", reason="the extra 'flyte' is not installed")

EXAMPLE = Path(__file__).parent.parent / "examples/flyte_task.py"

# The example as it stands, and a task whose training fails in its second epoch.
SCRIPT = f"""
import json, runpy
import flyte
from flyteplugins.wandb import get_wandb_run, wandb_init

sys.argv = ["flyte_task.py", "--cpu", "--epochs", "2", "--weights", os.environ["MODEL"]]
runpy.run_path({str(EXAMPLE)!r}, run_name="__main__")

def fail(trainer):
    import flyteplugins.wandb, ultralytics_wb_ddp
    if trainer.epoch == 1:
        raise RuntimeError("in the second epoch")
    runs = [module.get_wandb_run() for module in (ultralytics_wb_ddp, flyteplugins.wandb)]
    open(f"runs-of-rank-{{os.environ['RANK']}}.json", "w").write(json.dumps([run and run.id for run in runs]))

@wandb_init(project="demo", id="failing")
@flyte.TaskEnvironment("yolo").task
def failing() -> None:
    model = YOLO(os.environ["MODEL"])
    add_wandb_callback(model, run=get_wandb_run())
    model.add_callback("on_train_epoch_start", fail)
    model.train(**TWO_PROCESSES)

try:
    flyte.with_runcontext(mode="local").run(failing)
except flyte.errors.RuntimeUserError:
    print("the task has failed")
"""


@pytest.fixture(scope="module")
def flyte_job(run_job: RunJob) -> Job:
    return run_job(SCRIPT, prelude=PRELUDE)


def run_of(job: Job, *, failing: bool) -> RecordedRun:
    (run,) = (run for run in job.runs if (run.id == "failing") is failing)
    return run


def test_training_in_a_flyte_task_is_one_run(flyte_job: Job) -> None:
    run = run_of(flyte_job, failing=False)

    assert f"run {run.id}" in flyte_job.output, "as the task has returned it"
    assert [row.get("epoch") for row in run.history] == [*EPOCHS, END]
    assert (run.state, run.exit_code) == ("finished", 0)
    assert run.summary["weights"].endswith("best.pt"), "which the task has logged after the training"
    assert len(EXAMPLE.read_text().splitlines()) < 60


def test_training_that_fails_in_a_flyte_task_is_a_failed_run(flyte_job: Job) -> None:
    run = run_of(flyte_job, failing=True)

    assert "the task has failed" in flyte_job.output
    assert [row.get("epoch") for row in run.history] == [1]
    assert (run.state, run.exit_code) == ("failed", 1)


@pytest.mark.parametrize(("rank", "run_id"), [(0, "failing"), (1, None)])
def test_both_ways_to_the_run_agree_in_a_worker(flyte_job: Job, rank: int, run_id: str | None) -> None:
    found = json.loads((flyte_job.directory / f"runs-of-rank-{rank}.json").read_text())

    assert found == [run_id, run_id]
