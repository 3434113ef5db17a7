"""A training's inputs: dataset, starting weights and config as input artifacts of its run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from wandb_server import WandbServer

from support.input_sources import inputs_of
from support.jobs import Job, RunOnline
from ultralytics_wb_ddp.artifacts.inputs import FINGERPRINT_FILE


@pytest.fixture(scope="module")
def trainings(run_online: RunOnline) -> tuple[Job, WandbServer]:
    """Four trainings of a project, one after the other, of which the third is interrupted and resumed."""
    return run_online("inputs.py", "train_four_times")


def test_dataset_weights_and_config_are_inputs_and_the_checkpoint_an_output(
    trainings: tuple[Job, WandbServer],
) -> None:
    run = trainings[1].runs[0]

    assert {name: artifact.type for name, artifact in inputs_of(run).items()} == {
        "dataset_shapes:v0": "dataset",
        "weights_start:v0": "model",
        "training_config:v0": "config",
    }
    assert [artifact.name for artifact in run.artifacts if artifact.type == "model"] == [f"run_{run.id}_model"]
    assert not {id(artifact) for artifact in run.artifacts} & {id(artifact) for artifact in run.used_artifacts}


def test_no_image_and_no_weights_are_uploaded(trainings: tuple[Job, WandbServer]) -> None:
    uploads = {name for run in trainings[1].runs for artifact in run.used_artifacts for name in artifact.uploads}

    assert uploads - {"files/best.pt"} == {  # the best checkpoint of the first training, as its output
        "manifest",
        "files/args.yaml",
        "files/data.yaml",
        "files/files.tsv",
    }


def test_dataset_refers_to_where_it_comes_from_and_says_what_it_consists_of(
    trainings: tuple[Job, WandbServer],
) -> None:
    job, server = trainings
    dataset = inputs_of(server.runs[0])["dataset_shapes:v0"]
    facts = json.loads(dataset.metadata or "")

    assert facts.pop("fingerprint") == dataset.manifest["data"]["digest"]
    assert facts == {
        "root": str(job.directory / "shapes"),
        "classes": 2,
        "train": {"images": 12, "bytes": bytes_below(job.directory / "shapes/images/train"), "labels": 12},
        "val": {"images": 4, "bytes": facts["val"]["bytes"], "labels": 4},
    }
    assert dataset.manifest["data"]["ref"] == "https://example.com/shapes.zip"
    assert dataset.file("files.tsv").decode().count("\n") == 18  # a header, the classes, 16 images
    assert dataset.file("data.yaml").decode().splitlines()[-1] == "download: https://example.com/shapes.zip"


def bytes_below(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.iterdir())


def test_weights_refer_to_their_file_with_its_checksum(trainings: tuple[Job, WandbServer]) -> None:
    job, server = trainings
    (entry,) = inputs_of(server.runs[0])["weights_start:v0"].manifest.values()

    assert entry["ref"] == (job.directory / "start.pt").as_uri()
    assert entry["size"] == (job.directory / "start.pt").stat().st_size
    assert entry["digest"].endswith("==")  # MD5, as W&B checks it when it fetches the file


def test_weights_that_a_run_has_logged_are_that_runs_artifact(trainings: tuple[Job, WandbServer]) -> None:
    first, second, *_ = trainings[1].runs

    (weights,) = (artifact for artifact in second.used_artifacts if artifact.type == "model")
    assert weights in first.artifacts


def test_unchanged_dataset_stays_the_same_version(trainings: tuple[Job, WandbServer]) -> None:
    first, second, *_ = trainings[1].runs

    assert inputs_of(second)["dataset_shapes:v0"] is inputs_of(first)["dataset_shapes:v0"]


def test_config_holds_the_arguments_but_not_where_the_training_lies(trainings: tuple[Job, WandbServer]) -> None:
    config = inputs_of(trainings[1].runs[0])["training_config:v0"].file("args.yaml").decode().splitlines()

    assert {"model: start.pt", "epochs: 1", "imgsz: 64"} <= set(config)
    assert not [line for line in config if line.startswith(("save_dir", "name", "project"))]


def test_resumed_training_whose_dataset_changed_says_so_and_uses_both_versions(
    trainings: tuple[Job, WandbServer],
) -> None:
    job, server = trainings

    said = [line for line in job.output.splitlines() if "the dataset has changed" in line]
    assert [line.partition("interrupted: ")[2].split("; ") for line in said] == [
        ["train: 1 label changed (images/train/00004.png)", "val: 1 image added (images/val/copy.png)"]
    ]
    assert sorted(name for name in inputs_of(server.runs[2]) if name.startswith("dataset")) == [
        "dataset_shapes:v0",
        "dataset_shapes:v1",
    ]


def test_resumed_training_began_with_what_it_began_with(trainings: tuple[Job, WandbServer]) -> None:
    run = trainings[1].runs[2]

    assert run.sessions == 2
    assert [artifact.name for artifact in run.used_artifacts if artifact.type == "model"] == ["weights_start"]


def test_inputs_can_be_left_out(trainings: tuple[Job, WandbServer]) -> None:
    job, server = trainings

    assert server.runs[3].used_artifacts == []
    assert not (job.directory / "four" / FINGERPRINT_FILE).exists()
