"""Dataset, starting weights and config become input artifacts of a run, with the real client and without a training."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import wandb
from wandb_server import WandbServer

from support.input_sources import inputs_of, save_weights, sources_of
from support.jobs import NIGHTLY
from ultralytics_wb_ddp.artifacts import inputs
from ultralytics_wb_ddp.artifacts.inputs import InputLogger, InputSources
from ultralytics_wb_ddp.runs.run_record import RunRecord
from ultralytics_wb_ddp.testing.shapes_dataset import make_shapes_dataset
from ultralytics_wb_ddp.wandb_client.run_file import RecordedArtifact, find_run_files, read_run


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("WANDB_SERVICE", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_SILENT", "true")
    with wandb.init(project="demo", mode="offline", dir=tmp_path, settings=wandb.Settings(console="off")) as run:
        yield run
    wandb.teardown()


OpenOnline = Callable[[], AbstractContextManager[tuple[Any, WandbServer]]]


@pytest.fixture
def online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenOnline:
    @contextmanager
    def opened() -> Iterator[tuple[Any, WandbServer]]:
        monkeypatch.delenv("WANDB_SERVICE", raising=False)
        with WandbServer() as server:
            for name, value in {**server.environment, "WANDB_SILENT": "true"}.items():
                monkeypatch.setenv(name, value)
            with wandb.init(project="demo", dir=tmp_path, settings=wandb.Settings(console="off")) as run:
                yield run, server
            server.faults.clear()
            wandb.teardown()

    return opened


def recorded(run: Any, directory: Path) -> dict[str, RecordedArtifact]:
    run.finish()
    wandb.teardown()
    (file,) = find_run_files(directory)
    return {artifact.name: artifact for artifact in read_run(file).artifacts}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_shapes_dataset(tmp_path / "shapes", images=4, classes=2)


def test_dataset_on_disk_is_referred_to_by_its_directories(run: Any, data: Path, tmp_path: Path) -> None:
    given = InputLogger(sources_of(data, tmp_path / "train"))
    given.start()
    given.log(run, patience=30)

    dataset = recorded(run, tmp_path)["dataset_shapes"]
    assert dataset.is_input
    assert dataset.entries["train"] == (data.parent / "images/train").as_uri()
    assert dataset.entries.keys() == {"data.yaml", "files.tsv", "train"}


def test_dataset_that_lies_elsewhere_is_the_same_version(online: OpenOnline, data: Path, tmp_path: Path) -> None:
    moved = tmp_path / "disk/shapes/data.yaml"
    shutil.copytree(data.parent, moved.parent)
    moved.write_text(moved.read_text().replace(str(data.parent), str(moved.parent)))
    with online() as (run, server):
        for file in (data, moved):
            given = InputLogger(sources_of(file, tmp_path / "train"))
            given.start()
            given.log(run, patience=30)

    (dataset,) = {id(found): found for found in server.runs[0].used_artifacts if found.type == "dataset"}.values()
    assert (
        dataset.file("data.yaml").decode() == "train: images/train\nval: images/val\nnames:\n  0: shape0\n  1: shape1\n"
    )


@pytest.mark.parametrize(
    ("yaml", "given"),
    [
        ("path: s3://bucket/shapes\n", {}),
        pytest.param("train: [s3://bucket/shapes]\n", {}, marks=NIGHTLY),
        pytest.param("", {"data_uri": "s3://bucket/shapes"}, marks=NIGHTLY),
        pytest.param("", {"data": "s3://bucket/shapes"}, marks=NIGHTLY),
    ],
)
def test_dataset_that_lives_elsewhere_is_referred_to_there(
    run: Any, data: Path, tmp_path: Path, yaml: str, given: dict[str, str]
) -> None:
    content = "".join(line for line in data.read_text().splitlines(keepends=True) if line[:4] != yaml[:4])
    data.write_text(content + yaml)
    found = InputLogger(sources_of(data, tmp_path / "train", **given))
    found.start()
    found.log(run, patience=30)

    entries = recorded(run, tmp_path)["dataset_shapes"].entries
    assert entries.keys() == {"data.yaml", "files.tsv", "data"}
    assert entries["data"] == "s3://bucket/shapes"


def test_secrets_do_not_reach_an_artifact(online: OpenOnline, data: Path, tmp_path: Path) -> None:
    with data.open("a") as file:
        file.write("api_key: my-secret\nnote: holds the-key somewhere\ndownload: s3://me:pass@bucket/x?token=t0k\n")
    with online() as (run, server):
        given = InputLogger(sources_of(data, tmp_path / "train", hub_token="my-token"), ("the-key",))
        given.start()
        given.log(run, patience=30)

    received = b"".join(server.received)
    assert b"note: holds" in received
    assert b"s3://bucket/x" in received
    assert [word for word in (b"my-secret", b"the-key", b"me:pass", b"t0k", b"my-token") if word in received] == []


def test_files_that_do_not_answer_hold_nothing_up(
    run: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(inputs, "FAILED_TIMEOUT", 0.2)
    label = data.parent / "labels/train/00002.txt"
    label.unlink()
    os.mkfifo(label)  # as a network drive that is away: reading it waits for ever
    given = InputLogger(sources_of(data, tmp_path / "train"))
    given.start()
    given.log(run)
    with caplog.at_level(logging.WARNING, "ultralytics_wb_ddp"):
        given.finish(run, failed=True)

    assert f"the dataset is no input of run {run.id}: the training ended before its files were seen" in caplog.text
    assert recorded(run, tmp_path).keys() == {"training_config"}


@NIGHTLY
def test_input_that_cannot_be_looked_at_costs_only_itself(
    run: Any, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = sources_of(data, tmp_path / "train")
    given = InputLogger(InputSources(**{**vars(found), "data": {"images": "somewhere"}}))
    with caplog.at_level(logging.WARNING, "ultralytics_wb_ddp"):
        given.start()
        given.log(run, patience=30)

    assert "the dataset could not be made an input of the run: KeyError: 'train'" in caplog.text
    assert recorded(run, tmp_path).keys() == {"training_config"}


def logged_and_downloaded(run: Any, folder: Path) -> tuple[Path, torch.nn.Module]:
    """Log weights as the artifact ``theirs`` and download them again."""
    network = save_weights(folder / "made.pt")
    made = wandb.Artifact("theirs", type="model")
    made.add_file(str(folder / "made.pt"))
    run.log_artifact(made).wait()
    return Path(made.download(str(folder / "artifacts/theirs:v0")), "made.pt"), network


def test_weights_that_were_downloaded_are_the_artifact_that_they_came_from(
    online: OpenOnline, data: Path, tmp_path: Path
) -> None:
    with online() as (run, server):
        weights, network = logged_and_downloaded(run, tmp_path)
        given = InputLogger(sources_of(data, tmp_path / "train", model=str(weights), network=network))
        given.start()
        given.log(run, patience=30)

    (logged,) = server.runs[0].artifacts
    assert logged.name == "theirs"
    assert logged in server.runs[0].used_artifacts


@NIGHTLY
def test_weights_that_were_changed_since_are_another_artifact(online: OpenOnline, data: Path, tmp_path: Path) -> None:
    with online() as (run, server):
        weights, _ = logged_and_downloaded(run, tmp_path)
        given = InputLogger(
            sources_of(data, tmp_path / "train", model=str(weights), network=save_weights(weights, seed=1))
        )
        given.start()
        given.log(run, patience=30)

    assert "weights_made:v0" in inputs_of(server.runs[0])
    assert "theirs:v0" not in inputs_of(server.runs[0])


@NIGHTLY
def test_weights_are_referred_to_where_wandb_does_not_say_what_they_are(
    online: OpenOnline, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "LOOKUP_TIMEOUT", 1.0)
    weights = tmp_path / "earlier/weights/best.pt"
    RunRecord("abc", "demo", "team").save(tmp_path / "earlier")
    network = save_weights(weights)
    with online() as (run, server):
        server.faults.add("ArtifactMembershipByName", hang=True)
        given = InputLogger(sources_of(data, tmp_path / "train", model=str(weights), network=network))
        given.start()
        given.log(run, patience=30)

    assert "weights_earlier_best:v0" in inputs_of(server.runs[0])
