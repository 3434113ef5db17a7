"""A training that one machine has lost goes on on another, in the same run, from a checkpoint that is an artifact."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from wandb_server import WandbServer
from wandb_server.store import StoredArtifact

from support.jobs import NIGHTLY, Job, RunJob, run_command, wait_until_closed
from support.measures import assert_is_one_whole_run

SCENARIO = "restore.py"
nightly = partial(pytest.param, marks=NIGHTLY)


@dataclass
class Lost:
    """A training that failed in its fourth epoch.

    Attributes:
        server: The server that has its run.
        path: Path of the run.
    """

    job: Job
    server: WandbServer
    path: str


@pytest.fixture(scope="module")
def lost(run_job: RunJob) -> Iterator[Lost]:
    with WandbServer() as server:
        job = run_job(SCENARIO, "lose_the_machine_in_epoch_4", check=False, **server.environment)
        wait_until_closed(server)
        (run,) = server.runs
        yield Lost(job, server, f"{run.entity}/{run.project}/{run.id}")


@pytest.fixture
def restored(lost: Lost, tmp_path: Path, shapes: Path) -> Path:
    """The directory in which the command has restored it."""
    moved = tmp_path / "moved.yaml"  # the dataset lies elsewhere on this machine
    moved.write_text(shapes.read_text())
    words = ("--no-train", "--data", str(moved))
    done = run_command(tmp_path, "resume", lost.path, *words, timeout=400, **lost.server.environment)
    assert done.returncode == 0, done.stderr
    checkpoint = Path(done.stdout.strip().splitlines()[-1])
    assert checkpoint == Path("runs", lost.path.rpartition("/")[2], "weights", "last.pt")
    return tmp_path / checkpoint.parent.parent


@NIGHTLY
def test_directory_is_that_of_a_training_which_knows_its_run(lost: Lost, restored: Path, tmp_path: Path) -> None:
    checkpoint = torch.load(restored / "weights/last.pt", weights_only=False)

    assert {file.name for file in restored.iterdir()} >= {"args.yaml", "results.csv", "weights", "wandb_run.json"}
    assert "train" in (restored / "wandb_dataset.tsv").read_text(), "of what it was trained on"
    assert (restored / "weights/best.pt").exists()
    assert len((restored / "results.csv").read_text().splitlines()) == 4, "a header and three epochs"
    assert checkpoint["epoch"] + 1 == 3
    assert checkpoint["optimizer"]["state"]
    assert checkpoint["train_args"]["data"] == str(tmp_path / "moved.yaml")
    assert checkpoint["train_args"]["save_dir"] == str(restored)
    assert json.loads((restored / "wandb_run.json").read_text())["id"] == lost.path.rpartition("/")[2]


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        (None, ["--alias", "epoch-9"], "has no checkpoint 'epoch-9' to go on from: there are "),
        nightly("team/demo/unknown", [], "run 'team/demo/unknown' cannot be read"),
        nightly(
            None, ["--data", "nowhere.yaml"], "dataset 'nowhere.yaml' is not on this machine; give its place with data="
        ),
        nightly(None, ["--dir", "/proc/nowhere"], "'/proc/nowhere' cannot be written: "),
        nightly(None, ["--dir", "."], "exists already; resume the training that is there with"),
        nightly(None, ["batch"], "'batch' is no KEY=VALUE, such as device=0,1"),
    ],
)
def test_checkpoint_that_cannot_be_restored_is_named_and_leaves_nothing(
    lost: Lost, tmp_path: Path, path: str | None, options: list[str], message: str
) -> None:
    environment = lost.server.environment
    done = run_command(tmp_path, "resume", path or lost.path, *options, timeout=400, **environment)

    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert {file.name for file in tmp_path.iterdir()} == {"home", "yolo"}


# With another number of processes


@pytest.fixture(scope="module")
def gone_on(lost: Lost, run_job: RunJob) -> Job:
    """The training's further epochs, in two processes."""
    job = run_job(SCENARIO, "go_on_in_two_processes", lost.path, **lost.server.environment)
    wait_until_closed(lost.server)
    return job


@pytest.fixture(scope="module")
def models(lost: Lost, gone_on: Job) -> list[StoredArtifact]:  # noqa: ARG001  # it has logged some of them
    """The versions of the model artifact, in order."""
    (run,) = lost.server.runs
    return sorted((item for item in run.artifacts if item.type == "model"), key=lambda item: item.version or 0)


def test_training_goes_on_in_the_same_run_with_another_number_of_processes(lost: Lost, gone_on: Job) -> None:
    fault = "machine lost; restored on another one with two processes"
    assert_is_one_whole_run(fault, lost.server, epochs=[1, 2, 3, 4, 5, 5, 5], state="finished", exit_code=0)
    assert (gone_on.directory / "here/weights/best.pt").exists()
    assert len((gone_on.directory / "here/results.csv").read_text().splitlines()) == 6


def load(artifact: StoredArtifact) -> dict[str, Any]:
    (name,) = artifact.manifest
    checkpoint: dict[str, Any] = torch.load(io.BytesIO(artifact.file(name)), weights_only=False)
    return checkpoint


def test_last_checkpoints_are_logged_once_each_and_the_best_one_at_the_end(models: list[StoredArtifact]) -> None:
    *during, last, best = models

    assert [sorted(model.manifest) for model in models] == [["last.pt"]] * len(during) + [["last.pt"], ["best.pt"]]
    assert [set(model.aliases) for model in (last, best)] == [{"epoch-5", "last"}, {"best", "latest"}]
    assert [next(alias for alias in model.aliases if alias.startswith("epoch-")) for model in during] == [
        "epoch-2",
        "epoch-3",  # which the training has left when it failed
        "epoch-4",
    ]


def test_superseded_checkpoints_are_deleted(models: list[StoredArtifact]) -> None:
    *during, last, best = models

    assert [model.state for model in (last, best)] == ["COMMITTED"] * 2
    assert {model.state for model in during} == {"DELETED"}


def optimizer_notes(job: Job, rank: int) -> dict[int, float]:
    return dict(json.loads(line) for line in (job.directory / f"optimizer-{rank}.jsonl").read_text().splitlines())


def test_checkpoint_holds_model_and_optimizer_of_a_point_that_all_ranks_have_reached(
    lost: Lost, gone_on: Job, models: list[StoredArtifact]
) -> None:
    notes = [{**optimizer_notes(lost.job, 0), **optimizer_notes(gone_on, rank)} for rank in (0, 1)]
    assert len(models) > 2
    for model in models[:-1]:
        checkpoint = load(model)
        epoch = checkpoint["epoch"] + 1
        state = checkpoint["optimizer"]["state"]
        total = sum(
            float(part.double().abs().sum())
            for entry in state.values()
            for part in entry.values()
            if part is not None and part.numel() > 1
        )
        assert f"epoch-{epoch}" in model.aliases
        assert checkpoint["ema"] is not None
        assert total > 0
        for rank in (0, 1):
            assert total == pytest.approx(notes[rank][epoch], rel=1e-2), "stored with half precision"


def test_metadata_says_what_the_checkpoint_is(models: list[StoredArtifact]) -> None:
    for model in models:
        (content,) = (model.file(name) for name in model.manifest)
        metadata = json.loads(model.metadata or "{}")

        assert metadata["size"] == len(content)
        assert metadata["sha256"] == hashlib.sha256(content).hexdigest()
        assert metadata["epoch"] in {1, 2, 3, 4, 5}
        assert isinstance(metadata["fitness"], float)
        assert "metrics/mAP50(B)" in metadata["metrics"]
        assert metadata["train_args"]["optimizer"] == "SGD"


def test_nothing_is_left_beside_the_checkpoints(gone_on: Job) -> None:
    weights = gone_on.directory / "here/weights"
    assert {path.name for path in weights.iterdir()} == {"best.pt", "last.pt", "wandb_run.json"}
