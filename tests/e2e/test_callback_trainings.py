"""The seam to the trainer: how the callback is registered, what travels to the workers, what is refused."""

from __future__ import annotations

import pytest

from support.jobs import NIGHTLY, RunJob, epochs
from support.releases import INSTALLED, Releases

NO_TRAINING = """\
import os, sys
import cloudpickle
from ultralytics import YOLO
from ultralytics_wb_ddp import WandbCallback, add_wandb_callback, callbacks
model = YOLO(os.environ["MODEL"])
"""


def test_callback_travels_as_plain_configuration_and_opens_nothing_where_it_arrives(run_job: RunJob) -> None:
    run_job(
        """\
        import subprocess, wandb
        run = wandb.init(project="demo")
        callback = add_wandb_callback(model, run=run, tags=["a"])
        sealed = cloudpickle.dumps(dict(model.callbacks))
        assert len(sealed) < 20_000
        assert run.id.encode() in sealed
        arrives = "import sys, pickle; pickle.load(sys.stdin.buffer); print({'wandb', 'torch'} & set(sys.modules) - {'torch'})"
        done = subprocess.run([sys.executable, "-c", arrives], input=sealed, stdout=subprocess.PIPE, check=True)
        assert done.stdout.split() == [b"set()"], done.stdout
        run.finish()
        """,
        prelude=NO_TRAINING,
    )


def test_one_object_over_all_events_stays_one_object(run_job: RunJob) -> None:
    run_job(
        """\
        add_wandb_callback(model)
        arrived = cloudpickle.loads(cloudpickle.dumps(model.callbacks))
        owners = {id(f.__self__) for fs in arrived.values() for f in fs if isinstance(getattr(f, "__self__", None), WandbCallback)}
        assert len(owners) == 1
        """,
        prelude=NO_TRAINING,
    )


def test_second_registration_replaces_the_first(run_job: RunJob) -> None:
    run_job(
        """\
        for event, function in callbacks.items():
            model.add_callback(event, function)
        add_wandb_callback(model, name="first")
        second = add_wandb_callback(model, name="second")
        for event in callbacks:
            assert model.callbacks[event].count(getattr(second, event)) == 1
            assert sum(isinstance(getattr(f, "__self__", None), WandbCallback) for f in model.callbacks[event]) == 1
        """,
        prelude=NO_TRAINING,
    )


BAD_INPUT = [
    ("add_wandb_callback(object())", "TypeError", ["object", "ultralytics.YOLO(...)"]),
    ("add_wandb_callback('yolo11n.pt')", "TypeError", ["'yolo11n.pt'", "str", "ultralytics.YOLO(...)"]),
    ("add_wandb_callback(model, run='abc')", "TypeError", ["run='abc'", "wandb.init()"]),
    ("add_wandb_callback(model, projct='a')", "ConfigurationError", ["'projct'", "did you mean 'project'?"]),
    ("add_wandb_callback(model, colour='a')", "ConfigurationError", ["'colour'", "known are project"]),
    ("add_wandb_callback(model, project='')", "ConfigurationError", ["project=''", "empty"]),
    ("add_wandb_callback(model, api_key='a')", "ConfigurationError", ["'api_key'", "no place here"]),
    ("os.environ.update(WANDB_RUN_ID='a/b'); add_wandb_callback(model)", "ConfigurationError", ["'a/b'", "/"]),
    (
        "os.environ.update(WANDB_RUN_ID='a', ULTRALYTICS_WB_DDP='{'); add_wandb_callback(model)",
        "ConfigurationError",
        ["ULTRALYTICS_WB_DDP='{'", "not JSON", "unset ULTRALYTICS_WB_DDP"],
    ),
]


@pytest.fixture(scope="module")
def refusals(run_job: RunJob) -> list[str]:
    """The last line of what a user sees for each bad input."""
    script = f"""\
import traceback
for statement in {[statement for statement, _, _ in BAD_INPUT]!r}:
    try:
        exec(statement)
    except Exception as error:
        print("REFUSED", traceback.format_exception_only(error)[-1].strip())
    else:
        print("REFUSED not at all")
"""
    job = run_job(script, prelude=NO_TRAINING)
    assert job.runs == []
    return [line for line in job.output.splitlines() if line.startswith("REFUSED")]


@pytest.mark.parametrize("number", range(len(BAD_INPUT)), ids=[statement for statement, _, _ in BAD_INPUT])
def test_bad_input_is_an_error_before_the_training(refusals: list[str], number: int) -> None:
    _, error, words = BAD_INPUT[number]

    assert error in refusals[number]
    assert [word for word in words if word not in refusals[number]] == []


def test_damaged_handoff_ends_the_launch_before_workers_start(run_job: RunJob) -> None:
    job = run_job(
        """\
        for event, function in callbacks.items():
            model.add_callback(event, function)
        model.train(**TWO_PROCESSES)
        """,
        check=False,
        WANDB_RUN_ID="abc",
        ULTRALYTICS_WB_DDP='{"version": 99}',
    )

    assert job.exit_code == 1
    assert "version 99" in job.output
    assert "torch.distributed.run" not in job.output


@NIGHTLY
def test_trouble_with_wandb_does_not_end_the_training(run_job: RunJob) -> None:
    job = run_job(
        """\
        add_wandb_callback(model)
        model.train(**ONE_PROCESS)
        """,
        WANDB_RUN_ID="gone",
        WANDB_PROJECT="demo",
        ULTRALYTICS_WB_DDP='{"version": 1, "run_id": "gone", "state": "open", "host": "another-host"}',
    )

    assert "2 epochs completed" in job.output
    assert "'gone' is open on host 'another-host'" in job.output
    assert "prepare_for_training()" in job.output
    assert f"send it when the launcher is done with: ultralytics-wb-ddp sync {job.run.path.parent}" in job.output
    assert (job.run.id, epochs(job)) == ("gone", [1, 2, 2, 2])


def test_trouble_with_wandb_ends_the_training_where_that_is_wanted(run_job: RunJob) -> None:
    job = run_job(
        """\
        add_wandb_callback(model, on_error="raise")
        model.train(**ONE_PROCESS)
        """,
        check=False,
        WANDB_RUN_ID="gone",
        WANDB_PROJECT="demo",
        ULTRALYTICS_WB_DDP='{"version": 1, "run_id": "gone", "state": "open", "host": "another-host"}',
    )

    assert job.exit_code == 1
    assert "ConnectionError: run 'gone' is open on host 'another-host'" in job.output


@NIGHTLY
def test_run_that_was_finished_before_the_training_is_resumed(run_job: RunJob) -> None:
    job = run_job("""\
        import wandb
        run = wandb.init(project="demo", config={"epochs": 99})
        run.log({"before": 1})
        run.finish()
        add_wandb_callback(model, run=run)
        model.train(**ONE_PROCESS)
    """)
    before, training = job.runs

    assert training.id == before.id
    assert training.project == "demo"
    assert [row["epoch"] for row in training.history] == [1, 2, 2, 2]
    assert training.config["ultralytics"]["epochs"] == 2
    assert training.state == "finished"


@NIGHTLY
def test_chart_that_fails_costs_only_itself(run_job: RunJob) -> None:
    job = run_job("""\
        add_wandb_callback(model)
        def spoil(trainer):
            trainer.validator.metrics.box.ap_class_index = None
        model.callbacks["on_train_end"].insert(0, spoil)
        model.train(**{**ONE_PROCESS, "plots": True})
    """)

    assert "curves could not be logged" in job.output
    assert [row["epoch"] for row in job.run.history] == [1, 2, 2, 2]
    assert any(artifact.type == "model" for artifact in job.run.artifacts)
    assert job.run.state == "finished"


def test_disabled_wandb_is_left_alone(run_job: RunJob) -> None:
    job = run_job(
        """\
        add_wandb_callback(model)
        model.train(**ONE_PROCESS)
        """,
        WANDB_MODE="disabled",
    )

    assert job.runs == []
    assert "could not be logged" not in job.output


UNPICKLABLE = """
import threading
class Counter:
    def __init__(self):
        self.lock = threading.Lock()
    def count(self, trainer):
        pass
os.makedirs("train")
open("train/of-yesterday.txt", "w").close()
SETTINGS["exist_ok"] = TWO_PROCESSES["exist_ok"] = True
add_wandb_callback(model)
"""


@pytest.mark.parametrize(
    ("callback", "name", "release"),
    [("Counter().count", "Counter.count", INSTALLED), ("lambda _, lock=threading.Lock(): None", "<lambda>", "8.3.0")],
)
def test_callback_that_cannot_travel_is_named_before_the_launch(
    run_job: RunJob, releases: Releases, callback: str, name: str, release: str
) -> None:
    script = f"{UNPICKLABLE}model.add_callback('on_train_start', {callback})\nmodel.train(**TWO_PROCESSES)\n"
    job = run_job(script, check=False, PYTHONPATH=releases.path(releases.ultralytics(release)))

    assert job.exit_code == 1
    assert f"callback '{name}' of event 'on_train_start' cannot be sent to the processes that train" in job.output
    assert "cannot pickle '_thread.lock' object" in job.output
    assert (job.directory / "train/of-yesterday.txt").exists()
    assert job.runs == []


@NIGHTLY
def test_callback_that_cannot_travel_does_no_harm_in_one_process(run_job: RunJob) -> None:
    script = f"{UNPICKLABLE}model.add_callback('on_train_start', Counter().count)\n"
    job = run_job(script + "model.train(**{**ONE_PROCESS, 'epochs': 1})\n")

    assert job.run.state == "finished"


def test_configuration_of_the_launchers_run_is_that_of_the_training_unless_the_callback_says_otherwise(
    run_job: RunJob,
) -> None:
    job = run_job("""
    CFG["wandb"].update(checkpoints="none", rank_metrics=False, run_mode="new")
    with WandbManager(CFG, "job"):
        add_wandb_callback(model, strategy="main")
        model.train(**{**TWO_PROCESSES, "epochs": 1})
    """)

    assert len(job.runs) == 1, "strategy='main' is stronger than run_mode='new'"
    assert [artifact for artifact in job.run.artifacts if artifact.type == "model"] == []
    assert not any(key.startswith("ranks/") for row in job.run.history for key in row)
