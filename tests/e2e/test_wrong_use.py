"""Wrong uses that would end well and empty: each gets one clear message, and a right use none."""

from __future__ import annotations

import pytest

from support.jobs import NIGHTLY, RunJob
from ultralytics_wb_ddp.runs.resolution import DISABLED_OPEN_RUN

WARNING = "ultralytics_wb_ddp: WARNING: "
SCENARIO = "wrong_uses.py"
pytestmark = NIGHTLY


@pytest.fixture(scope="module")
def said(run_job: RunJob) -> dict[str, list[str]]:
    """What this package says in each part of the script."""
    in_order = {"PYTHONUNBUFFERED": "1", "WANDB_CONSOLE": "off"}  # of printing
    job = run_job(SCENARIO, "use_in_every_way", **in_order)
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

    assert line.endswith(f"INFO: W&B is disabled ({DISABLED_OPEN_RUN}): nothing of this training is logged")


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


@pytest.mark.parametrize("registered", ["registered", "not-registered"])
def test_launch_that_was_not_logged_is_told_and_one_that_was_is_not(run_job: RunJob, registered: str) -> None:
    job = run_job(SCENARIO, "launch", registered)

    assert ("nothing of a training was logged" in job.output) is (registered == "not-registered")
