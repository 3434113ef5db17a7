"""A run is touched only when it is certain that a training begins or goes on, and a training that fails ends its run."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.jobs import NIGHTLY, RunJob, RunOnline, epochs
from support.releases import Releases

BY_HAND = "for event, function in callbacks.items():\n    model.add_callback(event, function)\n"
OURS = 'add_wandb_callback(model, project="demo")\n'
BROKEN = """
import contextlib
from ultralytics_wb_ddp.runs.open_runs import registry

def fails(**arguments):
    with contextlib.suppress(Exception):
        model.train(**arguments)
    print("OPEN", len(registry.opened))
"""
NO_DATA = "fails(**{**ONE_PROCESS, 'data': 'nowhere.yaml'})\n"
NO_MODEL = """
from ultralytics.models.yolo.detect import DetectionTrainer
class WithoutModel(DetectionTrainer):
    def get_model(self, *args, **kwargs):
        raise MemoryError
fails(**ONE_PROCESS, trainer=WithoutModel)
"""


@pytest.mark.parametrize("usage", [pytest.param(OURS, id="ours"), pytest.param(BY_HAND, id="by-hand", marks=NIGHTLY)])
def test_training_that_fails_before_it_begins_leaves_no_run(
    run_job: RunJob, release: Path, releases: Releases, usage: str
) -> None:
    script = usage + BROKEN + NO_DATA + NO_MODEL + "model.train(**{**ONE_PROCESS, 'epochs': 1})"
    job = run_job(script, PYTHONPATH=releases.path(release))

    assert job.output.count("OPEN 0") == 2
    assert (job.run.state, epochs(job)[0]) == ("finished", 1)  # the one that began after all


@NIGHTLY
def test_launch_that_fails_before_it_begins_leaves_no_run(run_job: RunJob, release: Path, releases: Releases) -> None:
    job = run_job(
        OURS
        + BROKEN
        + "fails(**{**TWO_PROCESSES, 'data': 'nowhere.yaml'})\n"
        + "def fail(trainer):\n    raise MemoryError\n"
        + "model.add_callback('on_pretrain_routine_start', fail)\n"
        + "fails(**TWO_PROCESSES)\n",
        PYTHONPATH=releases.path(release),
    )

    assert job.output.count("OPEN 0") == 2
    assert job.runs == []


@pytest.mark.parametrize(
    "registered", [pytest.param("", id="active"), pytest.param(", run=run", id="given", marks=NIGHTLY)]
)
def test_users_run_fails_with_a_training_that_fails_before_it_begins(run_job: RunJob, registered: str) -> None:
    job = run_job(
        f"import wandb\nrun = wandb.init(project='demo')\nadd_wandb_callback(model{registered})\n"
        "try:\n    model.train(**{**ONE_PROCESS, 'data': 'nowhere.yaml'})\nfinally:\n    run.finish()\n",
        check=False,
    )

    assert job.exit_code == 1
    assert (job.run.state, job.run.exit_code) == ("failed", 1)


RESUMED = """
def attempt(**arguments):
    again = YOLO("train/weights/last.pt")
    register(again)
    try:
        again.train(**{**ONE_PROCESS, **arguments, "resume": "train/weights/last.pt"})
    except Exception as error:
        print("REFUSED", type(error).__name__, error)
    print("RECORD", open("train/wandb_run.json").read() == record)

def register(model):
    add_wandb_callback(model, project="demo")

register(model)
model.train(**{**ONE_PROCESS, "epochs": 1})
record = open("train/wandb_run.json").read()
attempt()
"""
IN_TWO_PROCESSES = """
attempt(**TWO_PROCESSES)
"""
WITH_RUNS_OF_ITS_OWN = """
import wandb
with wandb.init(project="demo", id="of-the-user"):
    attempt()
with WandbManager(CFG, "manager") as manager:
    manager.prepare_for_training()
    attempt()

def register(model):
    for event, function in callbacks.items():
        model.add_callback(event, function)
attempt()
"""


@pytest.mark.parametrize(
    ("more", "attempts"),
    [
        pytest.param("", 1, id="alone"),
        pytest.param(IN_TWO_PROCESSES, 2, id="two-processes", marks=NIGHTLY),
        pytest.param(WITH_RUNS_OF_ITS_OWN, 4, id="with-other-runs", marks=NIGHTLY),
    ],
)
def test_run_of_a_finished_training_stays_as_it_is_when_a_resume_is_refused(
    run_online: RunOnline, release: Path, releases: Releases, more: str, attempts: int
) -> None:
    job, server = run_online(RESUMED + more, PYTHONPATH=releases.path(release))
    (run,) = (run for run in server.runs if run.id.startswith("train_"))

    assert job.output.count("RECORD True") == job.output.count("REFUSED") == attempts
    assert "nothing to resume" in job.output
    assert (run.state, run.exit_code, run.sessions, len(run.history)) == ("finished", 0, 1, 3)


FAILS_IN_EPOCH_2 = """
def fail(trainer):
    if trainer.epoch == 1:
        raise SystemExit(3)
model.add_callback("on_train_epoch_start", fail)
"""


def test_run_of_a_training_that_fails_is_closed_while_its_process_lives(
    run_job: RunJob, release: Path, releases: Releases
) -> None:
    job = run_job(
        OURS
        + FAILS_IN_EPOCH_2
        + """
from ultralytics_wb_ddp.runs.open_runs import registry
try:
    model.train(**ONE_PROCESS)
except SystemExit:
    print("OPEN", len(registry.opened))
""",
        PYTHONPATH=releases.path(release),
    )

    assert "OPEN 0" in job.output
    assert (job.run.state, job.run.exit_code, epochs(job)) == ("failed", 3, [1])


PATIENT = "CFG['wandb']['finish_timeout'] = 10_000  # far beyond what the test waits for\n"
CLOSED = """
with WandbManager(CFG, "job") as manager:
    add_wandb_callback(model)
    manager.prepare_for_training()
    train()
"""
FORGETFUL = """
from ultralytics.models.yolo.detect import DetectionTrainer
class Forgetful(DetectionTrainer):
    def run_callbacks(self, event):
        if event != "teardown":
            super().run_callbacks(event)
"""


@pytest.mark.parametrize(
    ("training", "exit_code"),
    [
        pytest.param("def train(): model.train(**{**ONE_PROCESS, 'data': 'nowhere.yaml'})\n", 1, id="before-it-begins"),
        pytest.param(
            FORGETFUL + FAILS_IN_EPOCH_2 + "def train(): model.train(**ONE_PROCESS, trainer=Forgetful)\n",
            3,
            id="without-teardown",
        ),
    ],
)
def test_manager_never_waits_for_a_session_of_its_own_process(
    run_online: RunOnline, training: str, exit_code: int
) -> None:
    job, server = run_online(PATIENT + training + CLOSED, check=False)
    (run,) = server.runs

    assert job.exit_code == exit_code
    assert (run.state, run.exit_code) == ("failed", exit_code)
    assert run.destroyed_rows == []
