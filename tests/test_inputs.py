"""A training's inputs: dataset, starting weights and config as input artifacts of its run, with the real client."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import wandb
from wandb_server import StoredArtifact, StoredRun, WandbServer

from support.jobs import Job, RunOnline
from ultralytics_wb_ddp.artifacts import inputs
from ultralytics_wb_ddp.artifacts.inputs import FINGERPRINT_FILE, InputLogger, InputSources
from ultralytics_wb_ddp.runs.run_record import RunRecord
from ultralytics_wb_ddp.testing.shapes_dataset import make_shapes_dataset
from ultralytics_wb_ddp.wandb_client.run_file import RecordedArtifact, find_run_files, read_run

# Four trainings of a project, one after the other: the first starts from weights that W&B does not know, the second from
# the best checkpoint of the first, the third is interrupted and resumed with another dataset, the fourth wants no inputs.
TRAININGS = """
import shutil
shutil.copytree(os.path.dirname(os.environ["DATA"]), "shapes")
yaml = open("shapes/data.yaml").read().replace(os.path.dirname(os.environ["DATA"]), os.path.abspath("shapes"))
open("shapes/data.yaml", "w").write(yaml + "download: https://me:pass@example.com/shapes.zip?signature=abc\\n")
ONE_PROCESS.update(data="shapes/data.yaml", epochs=1)
model.save("start.pt")

def train(weights, **options):
    model = YOLO(weights)
    add_wandb_callback(model, project="demo", **options)
    return model

train("start.pt").train(**{**ONE_PROCESS, "name": "one"})
train("one/weights/best.pt").train(**{**ONE_PROCESS, "name": "two"})

model = train("start.pt")
def interrupt(trainer):
    if trainer.epoch == 1:
        raise InterruptedError
model.add_callback("on_train_epoch_start", interrupt)
try:
    model.train(**{**ONE_PROCESS, "name": "three", "epochs": 2})
except InterruptedError:
    pass
os.remove("shapes/labels/train/00004.txt")
shutil.copy("shapes/images/val/00000.png", "shapes/images/val/copy.png")
train("three/weights/last.pt").train(resume=True)

train("start.pt", inputs=False).train(**{**ONE_PROCESS, "name": "four"})
"""


@pytest.fixture(scope="module")
def trainings(run_online: RunOnline) -> tuple[Job, WandbServer]:
    return run_online(TRAININGS)


def inputs_of(run: StoredRun) -> dict[str, StoredArtifact]:
    return {f"{artifact.name}:v{artifact.version}": artifact for artifact in run.used_artifacts}


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


# Without a training


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


def sources(
    file: Path,
    save_dir: Path,
    *,
    data: str | None = None,
    data_uri: str | None = None,
    goes_on: bool = False,
    network: Any = None,
    **given: Any,
) -> InputSources:
    """Return the sources of a training as far as they matter here."""
    args = {"data": str(file), "model": "model.yaml", "pretrained": True, "task": "detect", "resume": None, **given}
    checked = {"path": file.parent, "train": str(file.parent / "images/train"), "yaml_file": str(file)}
    trainer = SimpleNamespace(data=checked, args=SimpleNamespace(**args), model=network, save_dir=save_dir)
    save_dir.mkdir(exist_ok=True)
    return InputSources.of_training(trainer, data=data, data_uri=data_uri, goes_on=goes_on)


def recorded(run: Any, directory: Path) -> dict[str, RecordedArtifact]:
    run.finish()
    wandb.teardown()
    (file,) = find_run_files(directory)
    return {artifact.name: artifact for artifact in read_run(file).artifacts}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_shapes_dataset(tmp_path / "shapes", images=4, classes=2)


def test_dataset_on_disk_is_referred_to_by_its_directories(run: Any, data: Path, tmp_path: Path) -> None:
    given = InputLogger(sources(data, tmp_path / "train"))
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
            given = InputLogger(sources(file, tmp_path / "train"))
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
        ("train: [s3://bucket/shapes]\n", {}),
        ("", {"data_uri": "s3://bucket/shapes"}),
        ("", {"data": "s3://bucket/shapes"}),
    ],
)
def test_dataset_that_lives_elsewhere_is_referred_to_there(
    run: Any, data: Path, tmp_path: Path, yaml: str, given: dict[str, str]
) -> None:
    content = "".join(line for line in data.read_text().splitlines(keepends=True) if line[:4] != yaml[:4])
    data.write_text(content + yaml)
    found = InputLogger(sources(data, tmp_path / "train", **given))
    found.start()
    found.log(run, patience=30)

    entries = recorded(run, tmp_path)["dataset_shapes"].entries
    assert entries.keys() == {"data.yaml", "files.tsv", "data"}
    assert entries["data"] == "s3://bucket/shapes"


def test_secrets_do_not_reach_an_artifact(online: OpenOnline, data: Path, tmp_path: Path) -> None:
    with data.open("a") as file:
        file.write("api_key: my-secret\nnote: holds the-key somewhere\ndownload: s3://me:pass@bucket/x?token=t0k\n")
    with online() as (run, server):
        given = InputLogger(sources(data, tmp_path / "train", hub_token="my-token"), ("the-key",))
        given.start()
        given.log(run, patience=30)

    received = b"".join(server.received)
    assert b"note: holds" in received
    assert b"s3://bucket/x" in received
    assert [word for word in (b"my-secret", b"the-key", b"me:pass", b"t0k", b"my-token") if word in received] == []


def test_resumed_training_in_another_run_starts_from_its_checkpoint(data: Path, tmp_path: Path) -> None:
    last = tmp_path / "last.pt"
    given = {"model": str(last), "resume": str(last), "network": saved(last)}

    resumed = sources(data, tmp_path / "train", **given)
    assert resumed.network.matching_files(resumed.weights) == [last]
    assert sources(data, tmp_path / "train", **given, goes_on=True).weights == ()


def saved(file: Path, seed: int = 0) -> torch.nn.Module:
    """Write weights to a checkpoint and return a network that holds them."""
    torch.manual_seed(seed)
    network = torch.nn.Linear(16, 16).half()
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": network}, file)
    return network.float()


def test_files_that_do_not_answer_hold_nothing_up(
    run: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(inputs, "FAILED_TIMEOUT", 0.2)
    label = data.parent / "labels/train/00002.txt"
    label.unlink()
    os.mkfifo(label)  # as a network drive that is away: reading it waits for ever
    given = InputLogger(sources(data, tmp_path / "train"))
    given.start()
    given.log(run)
    with caplog.at_level(logging.WARNING, "ultralytics_wb_ddp"):
        given.finish(run, failed=True)

    assert f"the dataset is no input of run {run.id}: the training ended before its files were seen" in caplog.text
    assert recorded(run, tmp_path).keys() == {"training_config"}


def test_what_cannot_be_looked_at_costs_only_itself(
    run: Any, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = sources(data, tmp_path / "train")
    given = InputLogger(InputSources(**{**vars(found), "data": {"images": "somewhere"}}))
    with caplog.at_level(logging.WARNING, "ultralytics_wb_ddp"):
        given.start()
        given.log(run, patience=30)

    assert "the dataset could not be made an input of the run: KeyError: 'train'" in caplog.text
    assert recorded(run, tmp_path).keys() == {"training_config"}


def logged_and_downloaded(run: Any, folder: Path) -> tuple[Path, torch.nn.Module]:
    """Log weights as the artifact ``theirs`` and download them again."""
    network = saved(folder / "made.pt")
    made = wandb.Artifact("theirs", type="model")
    made.add_file(str(folder / "made.pt"))
    run.log_artifact(made).wait()
    return Path(made.download(str(folder / "artifacts/theirs:v0")), "made.pt"), network


def test_weights_that_were_downloaded_are_the_artifact_that_they_came_from(
    online: OpenOnline, data: Path, tmp_path: Path
) -> None:
    with online() as (run, server):
        weights, network = logged_and_downloaded(run, tmp_path)
        given = InputLogger(sources(data, tmp_path / "train", model=str(weights), network=network))
        given.start()
        given.log(run, patience=30)

    (logged,) = server.runs[0].artifacts
    assert logged.name == "theirs"
    assert logged in server.runs[0].used_artifacts


def test_weights_that_were_changed_since_are_another_artifact(online: OpenOnline, data: Path, tmp_path: Path) -> None:
    with online() as (run, server):
        weights, _ = logged_and_downloaded(run, tmp_path)
        given = InputLogger(sources(data, tmp_path / "train", model=str(weights), network=saved(weights, seed=1)))
        given.start()
        given.log(run, patience=30)

    assert "weights_made:v0" in inputs_of(server.runs[0])
    assert "theirs:v0" not in inputs_of(server.runs[0])


def test_weights_are_referred_to_where_wandb_does_not_say_what_they_are(
    online: OpenOnline, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "LOOKUP_TIMEOUT", 1.0)
    weights = tmp_path / "earlier/weights/best.pt"
    RunRecord("abc", "demo", "team").save(tmp_path / "earlier")
    network = saved(weights)
    with online() as (run, server):
        server.faults.add("ArtifactMembershipByName", hang=True)
        given = InputLogger(sources(data, tmp_path / "train", model=str(weights), network=network))
        given.start()
        given.log(run, patience=30)

    assert "weights_earlier_best:v0" in inputs_of(server.runs[0])
