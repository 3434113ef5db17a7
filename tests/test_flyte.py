"""A training in a Flyte task, in the run that W&B's plugin for Flyte has made for the task."""

from __future__ import annotations

import json

import pytest

from support.jobs import END, EPOCHS, NIGHTLY, PRELUDE, Job, LaunchAgents, RunJob, RunOnline, epochs
from support.paths import EXAMPLES
from ultralytics_wb_ddp.wandb_client.run_file import RecordedRun

pytest.importorskip("flyteplugins.wandb", reason="the extra 'flyte' is not installed")

EXAMPLE = EXAMPLES / "flyte_task.py"

# The example as it stands, and a task whose training fails in its second epoch.
SCRIPT = f"""
import json, runpy
import flyte
from flyteplugins.wandb import get_wandb_run, wandb_init

sys.argv = ["flyte_task.py", "--cpu"]
os.symlink(os.environ["MODEL"], "yolo11.yaml")  # where "yolo11n.yaml" is looked for
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


def test_training_that_fails_in_a_flyte_task_is_a_failed_run(flyte_job: Job) -> None:
    run = run_of(flyte_job, failing=True)

    assert "the task has failed" in flyte_job.output
    assert [row.get("epoch") for row in run.history] == [1]
    assert (run.state, run.exit_code) == ("failed", 1)


@pytest.mark.parametrize(("rank", "run_id"), [(0, "failing"), (1, None)])
def test_both_ways_to_the_run_agree_in_a_worker(flyte_job: Job, rank: int, run_id: str | None) -> None:
    found = json.loads((flyte_job.directory / f"runs-of-rank-{rank}.json").read_text())

    assert found == [run_id, run_id]


@NIGHTLY
def test_task_whose_processes_are_there_already_is_one_run(launch_agents: LaunchAgents) -> None:
    script = """
import flyte
from flyteplugins.wandb import get_wandb_run, wandb_init
from ultralytics_wb_ddp import train_distributed

@wandb_init(project="demo", id="elastic")
@flyte.TaskEnvironment("yolo").task
def train() -> None:
    add_wandb_callback(model, run=get_wandb_run())
    train_distributed(model, trainer=CpuDDPTrainer, **SETTINGS)

flyte.with_runcontext(mode="local").run(train)
"""
    job = launch_agents(PRELUDE + script)

    assert job.exit_code == 0, job.output[-5000:]
    assert epochs(job) == [*EPOCHS, END]
    assert (job.run.id, job.run.state) == ("elastic", "finished")


@NIGHTLY
def test_run_that_the_plugin_opens_on_a_cluster_can_be_used(run_online: RunOnline) -> None:
    script = """
    import wandb
    shared = wandb.Settings(mode="shared", x_primary=True, x_label="a0")  # as the plugin has it outside of local mode
    run = wandb.init(project="demo", id="the-task", reinit="create_new", settings=shared)
    add_wandb_callback(model, run=run)
    model.train(**TWO_PROCESSES)
    run.finish(exit_code=0)
    """
    job, server = run_online(script)

    (run,) = server.runs
    assert job.exit_code == 0
    assert (run.id, run.state) == ("the-task", "finished")
    assert [row["epoch"] for row in run.history] == [*EPOCHS, END]
