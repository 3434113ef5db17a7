"""One run through a training: every way to use the package, with real launches of two processes on the CPU."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from wandb_server import WandbServer

from support.jobs import END, EPOCHS, NIGHTLY, Job, RunJob, epochs


@pytest.fixture(scope="module")
def usage_a(run_job: RunJob) -> Job:
    return run_job("training.py", "users_run")


@pytest.fixture(scope="module")
def usage_b(run_job: RunJob) -> Job:
    return run_job("training.py", "managers_run")


USAGE_A = pytest.param("usage_a", marks=NIGHTLY)


@pytest.mark.parametrize("usage", [USAGE_A, "usage_b"])
def test_run_of_the_launcher_gets_the_rows_of_before_during_and_after(
    usage: str, request: pytest.FixtureRequest
) -> None:
    job: Job = request.getfixturevalue(usage)

    assert epochs(job) == [None, *EPOCHS, END, None]
    assert job.run.history[0].keys() == {"before", "_step"}
    assert job.run.history[-1].keys() == {"after", "_step"}
    assert [row["_step"] for row in job.run.history] == list(range(6))


@pytest.mark.parametrize("usage", [USAGE_A, "usage_b", "usage_c"])
def test_one_finished_run_with_one_fragment(usage: str, request: pytest.FixtureRequest) -> None:
    job: Job = request.getfixturevalue(usage)

    assert len(job.runs) == 1
    assert (job.run.state, job.run.exit_code) == ("finished", 0)


@pytest.mark.parametrize("usage", [USAGE_A, "usage_b"])
def test_callback_of_the_users_cannot_finish_the_launchers_run(usage: str, request: pytest.FixtureRequest) -> None:
    job: Job = request.getfixturevalue(usage)

    assert f"run {job.run.id} stays open: it is the launcher's" in job.output
    assert epochs(job)[-1] is None  # the row that the launcher has logged afterwards


@pytest.mark.parametrize("usage", [USAGE_A, "usage_b", "usage_c"])
def test_rank_1_never_imports_wandb_and_starts_no_process(usage: str, request: pytest.FixtureRequest) -> None:
    directory = request.getfixturevalue(usage).directory
    rank_0, rank_1 = (json.loads((directory / f"rank-{rank}.json").read_text()) for rank in (0, 1))

    assert rank_0["wandb"]  # the witness would see it
    assert rank_1 == {"wandb": False, "processes": []}


def test_without_a_run_the_training_makes_one_named_as_the_stock_callback_names_it(usage_c: Job) -> None:
    assert usage_c.run.name == "train"
    assert usage_c.run.id.startswith("train_")
    assert usage_c.run.project == str(usage_c.directory).replace("/", "-")
    assert epochs(usage_c) == [*EPOCHS, END]


def test_manager_names_and_groups_the_run(usage_b: Job) -> None:
    assert usage_b.run.name == "my-training"
    assert usage_b.run.group == "exp-1"


def test_log_of_the_managers_run_holds_what_the_workers_print(usage_b: Job) -> None:
    assert "2 epochs completed" in usage_b.run.console


@pytest.mark.parametrize("usage", ["usage_b", "usage_c"])
def test_images_and_tables_lie_in_the_runs_directory(usage: str, request: pytest.FixtureRequest) -> None:
    run = request.getfixturevalue(usage).run
    media = [path for path in run.files if path.startswith("media/")]

    assert any(path.endswith(".jpg") for path in media)
    assert any(path.endswith(".table.json") for path in media)
    assert [path for path in media if not (run.path.parent / "files" / path).exists()] == []


def test_best_checkpoint_is_a_model_artifact_with_alias_best(usage_b: Job) -> None:
    best, final = (artifact for artifact in usage_b.run.artifacts if artifact.type == "model")

    assert best.name == f"run_{usage_b.run.id}_model"
    assert "best" in best.aliases
    assert best.entries["best.pt"] == (usage_b.directory / "train/weights/best.pt").stat().st_size
    assert final.name == "final_model"


@pytest.mark.parametrize("usage", [USAGE_A, "usage_b"])
def test_config_keeps_the_users_values_and_shows_the_trainings_value_beside_them(
    usage: str, request: pytest.FixtureRequest
) -> None:
    config = request.getfixturevalue(usage).run.config

    assert config["mine"] == 1
    assert config["epochs"] == 99
    assert config["ultralytics"] == {"epochs": 2}
    assert config["imgsz"] == 64


def test_training_directory_names_its_run(usage_b: Job) -> None:
    record = json.loads((usage_b.directory / "train/wandb_run.json").read_text())

    assert (record["id"], record["project"], record["url"]) == (usage_b.run.id, "demo", None)
    assert (usage_b.directory / "train/weights/wandb_run.json").exists()


@pytest.mark.parametrize("usage", [USAGE_A, "usage_b", "usage_c"])
def test_dataset_and_config_are_inputs_of_the_run(usage: str, request: pytest.FixtureRequest) -> None:
    artifacts = request.getfixturevalue(usage).run.artifacts
    config = next(artifact for artifact in artifacts if artifact.type == "config")

    assert config.entries.keys() == {"args.yaml", "data.yaml", "model.yaml"}
    assert [(artifact.name, artifact.type) for artifact in artifacts if artifact.is_input] == [
        ("training_config", "config"),
        ("dataset_shapes0", "dataset"),
    ]


def test_inputs_of_a_run_on_disk_are_its_inputs_once_it_is_sent(usage_c: Job, tmp_path: Path) -> None:
    folder = shutil.copytree(usage_c.run.path.parent, tmp_path / usage_c.run.path.parent.name)
    with WandbServer() as server:
        subprocess.run(
            [Path(sys.executable).with_name("wandb"), "sync", folder],
            cwd=tmp_path,
            env={**os.environ, **server.environment},
            check=True,
            capture_output=True,
        )
        (run,) = server.runs

    assert sorted(artifact.name for artifact in run.used_artifacts) == ["dataset_shapes0", "training_config"]
