"""What the row of an epoch holds: numbers that were measured in that epoch, once, whatever interrupts the training."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from support.jobs import NIGHTLY, Job, RunJob
from support.releases import Releases
from ultralytics_wb_ddp.artifacts.checkpoint_metadata import Measurement, checkpoint_metadata
from ultralytics_wb_ddp.artifacts.results_csv import without_placeholders
from ultralytics_wb_ddp.training.training_logger import effective_arguments

# Trainings that fail at an event of an epoch, each of which goes on where the one before has stopped.
SESSIONS = """
from ultralytics_wb_ddp.callback import WandbCallback

class Stopped(Exception):
    pass

def train(event=None, epoch=0, error=Stopped, **arguments):
    def fail(subject):
        if seen["trainer"].epoch == epoch - 1:
            raise error

    seen = {}
    last = "train/weights/last.pt"
    model = YOLO(last if os.path.exists(last) else os.environ["MODEL"])
    if event:
        model.add_callback("on_train_epoch_start", lambda trainer: seen.update(trainer=trainer))
        if event == "on_fit_epoch_end":
            model.add_callback(event, fail)
    for name, function in CALLBACKS(model):
        model.add_callback(name, function)
    if event and event != "on_fit_epoch_end":
        model.add_callback(event, fail)
    try:
        model.train(**(dict(resume=True, val=arguments["val"]) if os.path.exists(last) else arguments))
    except (error, SystemExit):
        assert event, "it ends well"
"""


def rows_of(job: Job) -> list[dict[str, object]]:
    return [row for run in job.runs for row in run.history]


def numbered(job: Job, key: str) -> list[object]:
    return [row["epoch"] for row in rows_of(job) if key in row]


def record_of(job: Job) -> dict[str, object]:
    record = json.loads((job.directory / "train/wandb_run.json").read_text())
    assert isinstance(record, dict)
    return record


VALIDATES_IN_2 = """
CALLBACKS = lambda model: [
    ("on_train_epoch_start", lambda trainer: setattr(trainer.args, "val", trainer.epoch == 1)),
    *WandbCallback(batch_interval=1).callbacks.items(),
]
train("on_model_save", 3, **{**ONE_PROCESS, "epochs": 5, "val": False})
train(**{**ONE_PROCESS, "val": False})
"""


@pytest.fixture(scope="module")
def seldom_validated(run_job: RunJob) -> Job:
    """Five epochs of which the second and the last are validated; the third fails when it is saved."""
    return run_job(SESSIONS + VALIDATES_IN_2)


def test_metrics_are_in_the_rows_of_epochs_that_were_validated(seldom_validated: Job) -> None:
    assert numbered(seldom_validated, "train/box_loss") == [1, 2, 3, 4, 5]
    assert numbered(seldom_validated, "val/box_loss") == [2, 5]
    assert numbered(seldom_validated, "metrics/mAP50(B)") == [2, 5, 5]


def test_model_is_described_in_the_first_epoch_and_its_speed_once_it_was_measured(seldom_validated: Job) -> None:
    assert numbered(seldom_validated, "model/parameters") == [1]
    assert numbered(seldom_validated, "model/speed_PyTorch(ms)") == [2]


def test_best_values_are_of_epochs_that_were_validated(seldom_validated: Job) -> None:
    record, summary = record_of(seldom_validated), seldom_validated.runs[-1].summary
    losses = [row["val/box_loss"] for row in rows_of(seldom_validated) if "val/box_loss" in row]
    best = record["best"]

    assert isinstance(best, dict)
    assert best["val/box_loss"] == pytest.approx(min(losses))
    assert record["best_epoch"] in {2, 5}
    assert summary["best/epoch"] == record["best_epoch"]


def test_checkpoint_of_an_epoch_that_was_not_validated_has_no_fitness() -> None:
    trainer = SimpleNamespace(args=SimpleNamespace(epochs=3), fitness=0.5, metrics={"val/box_loss": 0.0})

    facts = checkpoint_metadata(trainer, 2, Measurement())

    assert facts == {"epoch": 2, "fitness": None, "metrics": {}, "train_args": {"epochs": 3}}


def test_imported_rows_hold_what_was_measured() -> None:
    zeros = {"train/loss": 1.0, "metrics/mAP50(B)": 0.0, "val/loss": 0.0}
    poor, good = {**zeros, "val/loss": 2.0}, {**zeros, "metrics/mAP50(B)": 0.5, "val/loss": 1.0}
    unmeasured = {"train/loss": 1.0}

    seldom = without_placeholders([zeros, zeros, poor, poor, good], are_validated=False)
    always = without_placeholders([poor, poor, {"train/loss": 1.0, "metrics/mAP50(B)": 0.0}], are_validated=True)

    assert seldom == (unmeasured, unmeasured, poor, unmeasured, good)
    assert always == (poor, poor, {"train/loss": 1.0, "metrics/mAP50(B)": 0.0})


INTERRUPTIONS = """
CALLBACKS = lambda model: WandbCallback(batch_interval=1).callbacks.items()
settings = {**ONE_PROCESS, "batch": 4, "epochs": 4, "val": True}
train("on_train_batch_end", 2, **settings)
train("on_train_epoch_end", 2, **settings)
train("on_val_start", 2, KeyboardInterrupt, **settings)
train("on_model_save", 2, SystemExit, **settings)
train("on_fit_epoch_end", 3, **settings)
train(**settings)
"""


def test_each_epoch_is_logged_once_whatever_interrupts_it(run_job: RunJob) -> None:
    job = run_job(SESSIONS + INTERRUPTIONS)

    assert len(job.runs) == 6
    assert len({run.id for run in job.runs}) == 1
    assert numbered(job, "train/box_loss") == [1, 2, 3, 4]
    assert numbered(job, "val/box_loss") == [1, 2, 3, 4]
    batches = [row["batch"] for row in rows_of(job) if "batch" in row]
    assert batches == list(range(1, len(batches) + 1))
    assert len(batches) > 16
    assert record_of(job)["batches"] == len(batches)
    assert "earlier training" not in job.output


KILLED = """
import signal, subprocess
CALLBACKS = lambda model: WandbCallback().callbacks.items()

def kill(trainer):
    if trainer.epoch == int(os.environ["KILL"]):
        os.kill(os.getpid(), signal.SIGKILL)

if "KILL" in os.environ:
    last = "train/weights/last.pt"
    model = YOLO(last) if os.path.exists(last) else model
    model.add_callback("on_model_save", kill)
    add_wandb_callback(model)
    model.train(**(dict(resume=True) if os.path.exists(last) else {**ONE_PROCESS, "epochs": 3}))
for epoch in ("0", "1"):
    subprocess.run([sys.executable, __file__], env={**os.environ, "KILL": epoch})
train(val=True)
"""


def check_killed(job: Job) -> None:
    assert numbered(job, "train/box_loss") == [1, 2, 3]
    assert numbered(job, "val/box_loss") == [1, 2, 3]
    assert numbered(job, "lr/pg0") == [1, 2, 3]


def test_epoch_that_was_saved_is_logged_although_the_process_was_killed_then_also_the_first(run_job: RunJob) -> None:
    check_killed(run_job(SESSIONS + KILLED))


@NIGHTLY
@pytest.mark.parametrize("version", ["8.3.0", "8.4.139"])
def test_each_epoch_is_logged_once_in_older_releases(run_job: RunJob, releases: Releases, version: str) -> None:
    """They tell nobody of an exception, so that the row of an epoch that was saved comes with the next session."""
    job = run_job(SESSIONS + INTERRUPTIONS, PYTHONPATH=releases.path(releases.ultralytics(version)))

    assert numbered(job, "train/box_loss") == [1, 2, 3, 4]
    assert numbered(job, "val/box_loss") == [1, 2, 3, 4]
    batches = [row["batch"] for row in rows_of(job) if "batch" in row]
    assert batches == sorted(set(batches))


@NIGHTLY
def test_each_epoch_is_logged_once_in_the_run_of_each_rank(run_job: RunJob) -> None:
    job = run_job(
        """
        import subprocess

        def fail(trainer):
            if trainer.epoch == 1 and not trainer.args.resume and os.environ["RANK"] == "0":
                raise RuntimeError

        def train(model, **arguments):
            model.add_callback("on_train_epoch_end", fail)
            add_wandb_callback(model, run_mode="new", batch_interval=1)
            model.train(**{**TWO_PROCESSES, **arguments})

        try:
            train(model, epochs=3)
        except subprocess.CalledProcessError:
            train(YOLO("train/weights/last.pt"), resume=True)
        """
    )

    for rank in (0, 1):
        history = [row for run in job.runs if run.id.endswith(f"-rank-{rank}") for row in run.history]
        assert [row["epoch"] for row in history if "train/box_loss" in row] == [1, 2, 3]
        batches = [row["batch"] for row in history if "batch" in row]
        assert batches == sorted(set(batches))


# Changed while it goes on

OUT_OF_MEMORY = """
import json

def run_out_of_memory(trainer):
    preprocess, calls = trainer.preprocess_batch, []

    def fail_once(batch):
        calls.append(batch)
        if len(calls) == 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return preprocess(batch)

    trainer.preprocess_batch = fail_once

def note(trainer):
    facts = {"epochs": trainer.epochs, "batch": trainer.batch_size, "optimizer": type(trainer.optimizer).__name__}
    open("facts.json", "w").write(json.dumps(facts))

import torch
model.add_callback("on_train_start", run_out_of_memory)
model.add_callback("on_train_end", note)
add_wandb_callback(model, batch_interval=1)
model.train(**{**ONE_PROCESS, "time": 0.001})
"""


def check_changed(job: Job) -> None:
    facts = json.loads((job.directory / "facts.json").read_text())
    assert facts["batch"] == 4
    assert {name: job.run.config[name] for name in facts} == facts
    batches = [row["batch"] for row in job.run.rows("batch")]
    assert batches == list(range(1, len(batches) + 1))


def test_config_says_what_the_training_has_changed(run_job: RunJob) -> None:
    check_changed(run_job(OUT_OF_MEMORY))


@NIGHTLY
def test_config_says_what_an_older_release_has_changed(run_job: RunJob, releases: Releases) -> None:
    check_changed(run_job(OUT_OF_MEMORY, PYTHONPATH=releases.path(releases.ultralytics("8.4.60"))))


def test_arguments_are_those_that_the_trainer_goes_by() -> None:
    args = SimpleNamespace(epochs=3, batch=-1, optimizer="auto", lr0=0.01, val=True)
    groups = [{"initial_lr": 0.002}, {"initial_lr": 0.006}]
    adam = type("AdamW", (), {"param_groups": groups})()

    starting = effective_arguments(SimpleNamespace(args=args))
    training = effective_arguments(SimpleNamespace(args=args, epochs=5, batch_size=16, optimizer=adam))

    assert starting == vars(args)
    assert training == {"epochs": 5, "batch": 16, "optimizer": "AdamW", "lr0": 0.002, "val": True}


# Two trainings in one run

IN_TURN = """
import json, wandb

{opening}
add_wandb_callback(model{run})
settings = {{**{settings}, "epochs": 1, "name": None}}
{training}
summary = wandb.run.summary
values = {{key: summary[key]["min"] for key in summary.keys() if key.startswith("train/")}}
open("summary.json", "w").write(json.dumps(values))
{closing}
"""
USERS = {"opening": "run = wandb.init(project='demo')", "run": ", run=run", "closing": "run.finish()"}
MANAGERS = {
    "opening": "manager = WandbManager(CFG, job_name='twice'); manager.initialize()",
    "run": "",
    "closing": "manager.finish()",
}
DATASETS = "model.train(**{**settings, 'data': [os.environ['DATA']] * 2})"
TWICE = "model.train(**settings); model.train(**settings)"


def check_apart(job: Job) -> None:
    first, second = job.run.rows("train/box_loss")
    (warning,) = (line for line in job.output.splitlines() if "holds 1 epoch of an earlier training" in line)
    assert "leave run= out" in warning
    summary = json.loads((job.directory / "summary.json").read_text())
    assert summary == pytest.approx({key: second[key] for key in summary})
    assert first["epoch"] == second["epoch"] == 1


def test_each_dataset_of_a_list_trains_into_the_one_run_with_a_warning_before_the_first(run_job: RunJob) -> None:
    job = run_job(IN_TURN.format(settings="ONE_PROCESS", training=DATASETS, **USERS))

    check_apart(job)
    assert job.output.index("data= names 2 datasets, and run") < job.output.index(" 1/1 ")


@NIGHTLY
@pytest.mark.parametrize("usage", [USERS, MANAGERS], ids=["users", "manager"])
@pytest.mark.parametrize("training", [DATASETS, TWICE], ids=["datasets", "twice"])
@pytest.mark.parametrize("settings", ["ONE_PROCESS", "TWO_PROCESSES"])
def test_trainings_in_turn_are_doubted(run_job: RunJob, usage: dict[str, str], training: str, settings: str) -> None:
    check_apart(run_job(IN_TURN.format(settings=settings, training=training, **usage)))


@NIGHTLY
def test_each_dataset_of_a_list_has_a_run_of_its_own_where_none_was_given(run_job: RunJob) -> None:
    job = run_job("add_wandb_callback(model)\n" + "settings = {**ONE_PROCESS, 'epochs': 1}\n" + DATASETS)

    assert len({run.id for run in job.runs}) == 2
    assert "one axis" not in job.output
