"""Jobs that resume a training: the ones that are refused, and the plan that a dry run shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from omegaconf import OmegaConf

from support.past_trainings import CUT_OFF, STRIPPED, save_checkpoint
from ultralytics_wb_ddp import ConfigurationError
from ultralytics_wb_ddp.cli.main import main
from ultralytics_wb_ddp.cli.train import describe_job
from ultralytics_wb_ddp.jobs.checks import find_training_state
from ultralytics_wb_ddp.jobs.schema import Job
from ultralytics_wb_ddp.runs.run_record import RunRecord


@pytest.fixture
def training(tmp_path: Path) -> Path:
    (tmp_path / "weights").mkdir()
    return tmp_path


def job_that_resumes(resume: Any, model: Path) -> Job:
    train = {"data": "coco8.yaml", "resume": resume}
    return Job.from_cfg({"wandb": {"project": "demo"}, "model": str(model), "train": train})


@pytest.mark.parametrize(
    ("resume", "message"),
    [
        (
            "nowhere/last.pt",
            r"train.resume='nowhere/last.pt': there is no such file, and Ultralytics would go on with the newest",
        ),
        (True, r"last.pt' holds nothing to resume and is not a training's; name the weights/last.pt of a training"),
    ],
)
def test_job_that_resumes_what_is_no_training_is_refused(training: Path, resume: Any, message: str) -> None:
    save_checkpoint(STRIPPED, training)

    with pytest.raises(ConfigurationError, match=message):
        find_training_state(job_that_resumes(resume, training / "weights" / "last.pt"))


@pytest.mark.parametrize("model", ["yolo11n.yaml", "yolo11n"])
def test_job_that_resumes_a_model_without_a_checkpoint_is_refused(model: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"train.resume=True: model='{model}' is no checkpoint, .*last.pt"):
        find_training_state(job_that_resumes(resume=True, model=Path(model)))


def test_dry_run_of_a_job_says_that_its_training_is_over(training: Path) -> None:
    save_checkpoint(STRIPPED, training)
    RunRecord("abc", "demo").save(training, exit_code=0)

    said = dict(describe_job(job_that_resumes(resume=True, model=training / "weights" / "last.pt")))

    assert said["resumes"].endswith("is over: ? of 3 epochs, run abc: nothing is trained")


@pytest.mark.parametrize(
    ("content", "closed", "words"),
    [
        pytest.param(CUT_OFF, True, "run abc is continued project first of the default entity", id="resumed"),
        pytest.param(STRIPPED, True, "run abc: nothing is trained data", id="over"),
        pytest.param(
            STRIPPED, False, "run abc: nothing is trained, and the run is completed data", id="killed-at-its-end"
        ),
    ],
)
def test_dry_run_of_a_job_that_resumes_names_the_run_of_its_training(
    training: Path, monkeypatch: pytest.MonkeyPatch, content: dict[str, Any], *, closed: bool, words: str
) -> None:
    monkeypatch.chdir(training)
    save_checkpoint(content, training)
    RunRecord("abc", "first").save(training, exit_code=0 if closed else None)
    train = {"data": "coco8.yaml", "resume": True, "device": "cpu"}
    job = {"wandb": {"project": "demo", "mode": "offline"}, "model": "weights/last.pt", "train": train}
    OmegaConf.save(OmegaConf.create(job), "job.yaml")

    said = CliRunner().invoke(main, ["train", "job.yaml", "--dry-run"])

    shown = " ".join(said.output.split())
    assert said.exit_code == 0, shown
    assert words in shown
    assert "a new one is created" not in shown


def test_doctor_names_the_run_that_a_job_continues(training: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(training)
    RunRecord("abc", "first").save(training, exit_code=0)
    job = {"wandb": {"project": "demo", "mode": "offline"}, "model": {"weights": "weights/last.pt", "task": "detect"}}
    OmegaConf.save(OmegaConf.create({**job, "train": {"data": "coco8.yaml", "resume": True}}), "job.yaml")

    said = " ".join(CliRunner().invoke(main, ["doctor", "--config", "job.yaml"]).output.split())

    assert "run abc is continued project first of the default entity" in said
