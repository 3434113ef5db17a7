"""The plan of a job: where it trains, and what a dry run and a run refuse alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from click.testing import CliRunner
from omegaconf import OmegaConf

from support.example_job import EXAMPLE, SMALL, TWO_PROCESSES, runs_below
from ultralytics_wb_ddp.cli.main import main
from ultralytics_wb_ddp.cli.train import describe_job
from ultralytics_wb_ddp.jobs.checks import doctor_request_for
from ultralytics_wb_ddp.jobs.schema import Job


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    """The smallest job."""
    return {"wandb": {"project": "demo"}, "model": "yolo11n.yaml", "train": {"data": "coco8.yaml"}}


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("WANDB_MODE", "offline")
    wandb.teardown()  # the client reads its settings once
    yield
    wandb.teardown()


@pytest.mark.usefixtures("offline")
def test_dry_run_says_what_will_happen_and_starts_nothing(
    tmp_path: Path, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [str(EXAMPLE), *SMALL, *TWO_PROCESSES, f"train.data={shapes}", f"train.project={tmp_path / 'runs'}"]
    done = CliRunner().invoke(main, ["train", *words, "--dry-run"])

    assert done.exit_code == 0, done.output
    told = " ".join(done.output.split())
    for expected in (
        "job coco8-baseline of group baselines",
        "trains in 2 processes on this machine, which Ultralytics launches, with CpuDDPTrainer",
        "epochs=2",
        "project demo of the default entity",
        "processes 2 processes; only rank 0 logs",
        "offline: nothing is sent",
        "ok others python",
    ):
        assert expected in told
    assert "a run that the script has created" not in told, "there is no script"
    assert list(tmp_path.iterdir()) == []


def test_mistake_in_a_job_is_an_exit_code_and_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["train", str(EXAMPLE), *SMALL, "train.epocs=3"])

    assert result.exit_code == 1
    assert result.output.splitlines()[-1].startswith("Error: train: 'epocs' is no training argument")
    assert isinstance(result.exception, SystemExit)
    assert runs_below(tmp_path) == []


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["parallel.world_size=4", "train.device=[0,1]"],
            "parallel.world_size=4 contradicts device=[0, 1], which means 2 processes",
        ),
        (["parallel.world_size=3", "train.device=cpu"], "contradicts device='cpu', which means one process"),
        (["parallel.rank=0"], "rank is 0 and the number of processes is unknown"),
        (["parallel.master_addr=node7"], "parallel.master_addr='node7' is for several nodes, and RANK is missing"),
        (["parallel.output_device=0"], "parallel.output_device=0 is for processes on GPUs"),
        (["train.device=[90,91]"], "asks for 2; "),
        (["train.device=90"], "asks for 1; "),
        (["train.device=zero"], "'zero' is no device"),
        (["train.batch=-1"], "train.batch=-1: Ultralytics finds a size of batches in one process only"),
        (["train.resume=nowhere.pt"], "train.resume='nowhere.pt': there is no such file"),
        (["train.data=[1]"], "train.data=[1]: 1 is no dataset"),
        (["wandb.run_mode=shared", "wandb.mode=offline"], "W&B's shared mode needs its server"),
    ],
)
def test_dry_run_refuses_what_the_job_refuses(
    job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    two = {"trainer": "ultralytics_wb_ddp.testing:CpuDDPTrainer", "device": "0,1"}
    train = {**job["train"], **({} if "device" in str(overrides) else two)}
    OmegaConf.save(OmegaConf.create({**job, "train": train}), tmp_path / "job.yaml")

    looked = CliRunner().invoke(main, ["train", "job.yaml", *overrides, "--dry-run"])
    ran = CliRunner().invoke(main, ["train", "job.yaml", *overrides])

    for done in (looked, ran):
        assert done.exit_code == 1
        assert words in " ".join(done.output.split())
    assert [file.name for file in tmp_path.iterdir()] == ["job.yaml"]


@pytest.mark.usefixtures("offline")
def test_dry_run_refuses_a_group_of_the_environment_that_is_too_long(
    job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EXPERIMENT_GROUP_NAME", "g" * 129)
    OmegaConf.save(OmegaConf.create(job), tmp_path / "job.yaml")

    done = CliRunner().invoke(main, ["train", "job.yaml", "--dry-run"])

    assert done.exit_code == 1
    assert "has 129 characters" in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("train", "env", "words", "devices"),
    [
        ({}, {}, "in this process", []),
        ({"device": [0, 1]}, {}, "in 2 processes on this machine", ["0", "1"]),
        ({"device": "0,1,2"}, {}, "in 3 processes on this machine", ["0", "1", "2"]),
        (
            {},
            {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "0"},
            "as one rank of those that torchrun or srun has started",
            ["0", "1"],
        ),
    ],
)
def test_plan_says_where_the_training_will_run(
    job: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    train: dict[str, Any],
    env: dict[str, str],
    words: str,
    devices: list[str],
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    checked = Job.from_cfg({**job, "train": {**job["train"], **train}})

    assert words in dict(describe_job(checked))["trains"]
    assert doctor_request_for(checked).devices == devices
