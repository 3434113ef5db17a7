"""Wrong uses that would end well and empty: each gets one clear message, and a right use none."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import wandb

from support.jobs import NIGHTLY, Job, RunJob
from ultralytics_wb_ddp import ConfigurationError, WandbCallback, WandbManager, wandb_config
from ultralytics_wb_ddp.runs.misuse_warnings import unused_options

WARNING = "ultralytics_wb_ddp: WARNING: "

# One epoch each: a run with other options, a finished one, one that never existed, and none.
SCRIPT = """\
import wandb

def train(epochs=1):
    model.train(**{**ONE_PROCESS, "epochs": epochs})

run = wandb.init(project="demo", name="mine", tags=["a", "b"])
print("## another")
add_wandb_callback(model, run=run, project="other", name="mine", tags=["a"], job_type="evaluation", mode="offline")
train()
run.finish()
print("## finished")
add_wandb_callback(model, run=run)
print("## unknown")
os.environ["WANDB_RUN_ID"] = "left-over"
model = YOLO(os.environ["MODEL"])
add_wandb_callback(model, project="demo")
train()
print("## disabled")
del os.environ["WANDB_RUN_ID"]
os.environ["WANDB_MODE"] = "disabled"
train()
print("## disabled run")
os.environ["WANDB_MODE"] = "offline"
with WandbManager({"wandb": {"project": "demo", "mode": "disabled"}}, "job"):
    train()
print("## late")
del os.environ["WANDB_MODE"]
with WandbManager(CFG, "job") as manager:
    model = YOLO(os.environ["MODEL"])
    train()
print("## registered")
add_wandb_callback(model)
print("## again")
add_wandb_callback(model)
print("## right")
with WandbManager(CFG, "job") as manager:
    manager.prepare_for_training()
    train()
    manager.resume_after_training()
print("## evaluation")
with WandbManager(CFG, "job") as manager:
    manager.run.log({"accuracy": 1})
"""


@pytest.fixture(scope="module")
def said(run_job: RunJob) -> dict[str, list[str]]:
    """What this package says in each part of the script."""
    job = run_job(SCRIPT, PYTHONUNBUFFERED="1", WANDB_CONSOLE="off")  # in the order in which it is printed
    parts = {}
    for part in job.output.split("## ")[1:]:
        title, *lines = part.splitlines()
        parts[title] = [line for line in lines if line.startswith("ultralytics_wb_ddp: ")]
    return parts


def warnings_in(lines: list[str]) -> list[str]:
    return [line.removeprefix(WARNING) for line in lines if line.startswith(WARNING)]


def test_options_of_a_run_that_is_made_already_are_named_once(said: dict[str, list[str]]) -> None:
    (warning,) = warnings_in(said["another"])

    assert warning.startswith("project='other', job_type='evaluation' of add_wandb_callback have no effect: run ")
    assert warning.endswith("give them to wandb.init, or to the manager that makes the run")


def test_run_that_is_finished_is_named(said: dict[str, list[str]]) -> None:
    (warning,) = warnings_in(said["finished"])

    assert "is finished already: the training opens it again" in warning


def test_run_that_never_existed_is_made_not_resumed(said: dict[str, list[str]]) -> None:
    assert any("INFO: made run left-over of project demo" in line for line in said["unknown"])
    assert warnings_in(said["unknown"]) == []


def test_disabled_training_says_that_nothing_is_logged(said: dict[str, list[str]]) -> None:
    (line,) = said["disabled"]

    assert line.endswith("INFO: W&B is disabled (WANDB_MODE=disabled): nothing of this training is logged")


def test_disabled_run_is_not_blamed_on_the_variable(said: dict[str, list[str]]) -> None:
    (line,) = said["disabled run"]

    assert line.endswith("INFO: W&B is disabled (mode='disabled'): nothing of this training is logged")


def test_manager_whose_training_was_not_logged_says_so(said: dict[str, list[str]]) -> None:
    (warning,) = warnings_in(said["late"])

    assert warning.startswith("nothing of a training was logged to run ")
    assert "call add_wandb_callback(model) before model.train()" in warning


def test_callback_that_comes_after_the_training_is_told_once(said: dict[str, list[str]]) -> None:
    (warning,) = warnings_in(said["registered"])

    assert warning.startswith("this model was trained before add_wandb_callback(model) was called")
    assert warnings_in(said["again"]) == []


def test_right_use_gets_no_warning(said: dict[str, list[str]]) -> None:
    assert warnings_in(said["right"]) == warnings_in(said["evaluation"]) == []


@NIGHTLY
@pytest.mark.parametrize("registers", [False, True])
def test_launch_that_was_not_logged_is_told_and_one_that_was_is_not(run_job: RunJob, *, registers: bool) -> None:
    job: Job = run_job(
        f"""
        with WandbManager(CFG, "job") as manager:
            if {registers}:
                add_wandb_callback(model)
            manager.prepare_for_training()
            model.train(**TWO_PROCESSES)
            manager.resume_after_training()
        """
    )

    assert ("nothing of a training was logged" in job.output) is not registers


# Without a training


@pytest.fixture
def offline(no_s3: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Any]]:  # noqa: ARG001
    """Settings of a manager; whatever is open at the end is finished."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ULTRALYTICS_WB_DDP", raising=False)
    yield {"project": "demo", "mode": "offline"}
    if wandb.run is not None:
        wandb.run.finish()
    wandb.teardown()


def test_training_that_was_prepared_for_and_left_no_trace_is_told_once(
    offline: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "ultralytics_wb_ddp"), WandbManager({"wandb": offline}, "job") as manager:
        manager.prepare_for_training()
        manager.resume_after_training()

    assert [record.getMessage()[:38] for record in caplog.records] == ["nothing of a training was logged to run"[:38]]


@pytest.mark.parametrize("reason", ["rows", "failure", "shared"])
def test_manager_says_nothing_that_it_cannot_know(
    offline: dict[str, Any], caplog: pytest.LogCaptureFixture, reason: str
) -> None:
    options = {"run_mode": "new"} if reason == "shared" else {}
    manager = WandbManager({"wandb": offline | options}, "job")
    with caplog.at_level(logging.WARNING, "ultralytics_wb_ddp"):
        run, _ = manager.initialize()
        manager.prepare_for_training()
        if reason == "rows":  # of whatever logs there
            run.log({"accuracy": 1})
        manager.finish(exit_code=int(reason == "failure"))

    assert caplog.records == []


def test_settings_of_a_manager_that_adopts_a_run_are_named(
    offline: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    cfg = {"wandb": offline | {"tags": ["b"], "notes": "text"}}
    with (
        caplog.at_level(logging.WARNING, "ultralytics_wb_ddp"),
        wandb_config(job_type="of the block"),
        wandb.init(project="theirs", mode="offline", tags=["a"]),
        WandbManager(cfg, "job", "group"),
    ):
        pass

    (record,) = caplog.records
    assert record.getMessage().startswith(
        "project='demo', group='group', tags=['b'], notes='text' of cfg.wandb have no effect: run "
    )


@pytest.mark.parametrize(
    ("name", "place"),
    [
        (
            "id",
            "wandb.init(id=...) makes a run of this id, to be given as run=; a manager and a job take it in cfg.wandb.id",
        ),
        ("api_key", "set WANDB_API_KEY or call 'wandb login'; a manager"),
        ("epochs", "it is an argument of the training: model.train(epochs=...), train.epochs in a job"),
        ("device", "it is an argument of the training"),
    ],
)
def test_option_of_something_else_is_told_its_place(name: str, place: str) -> None:
    import_module("ultralytics.utils")  # as every script that trains has

    with pytest.raises(ConfigurationError) as refused:
        WandbCallback(**{name: 1})  # type: ignore[arg-type]

    assert str(refused.value).startswith(f"add_wandb_callback: {name!r} has no place here: {place}")


def test_options_that_say_what_the_run_is_have_an_effect(offline: dict[str, Any]) -> None:
    said = {"project": "demo", "group": "g", "tags": ("a",), "notes": "n", "name": "x", "mode": "offline"}
    with wandb.init(project="demo", mode="offline", group="g", tags=["a", "b"], notes="n", name="x") as run:
        assert unused_options(said, run) == {}
        assert unused_options({"tags": ("c",), "mode": "online"}, run) == {"tags": ["c"], "mode": "online"}
    assert os.environ.get("WANDB_RUN_ID") is None
    assert offline
