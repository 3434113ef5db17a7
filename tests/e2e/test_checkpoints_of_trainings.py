"""Checkpoints of a training as artifacts of its run: their order, content, metadata and place."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

import pytest
import torch
from wandb_server import WandbServer
from wandb_server.store import StoredArtifact

from support.jobs import NIGHTLY, Job, RunJob, RunOnline
from support.s3_service import S3Service

SCENARIO = "checkpoints.py"


@pytest.fixture(scope="module")
def trained(run_online: RunOnline) -> tuple[Job, WandbServer]:
    return run_online(SCENARIO, "train_in_two_processes")


@pytest.fixture(scope="module")
def models(trained: tuple[Job, WandbServer]) -> list[StoredArtifact]:
    """The versions of the model artifact, in order."""
    (run,) = trained[1].runs
    return sorted((item for item in run.artifacts if item.type == "model"), key=lambda item: item.version or 0)


def load(artifact: StoredArtifact) -> dict[str, Any]:
    (name,) = artifact.manifest
    checkpoint: dict[str, Any] = torch.load(io.BytesIO(artifact.file(name)), weights_only=False)
    return checkpoint


def test_last_checkpoints_are_logged_once_each_and_the_best_one_at_the_end(models: list[StoredArtifact]) -> None:
    *during, last, best = models

    assert [sorted(model.manifest) for model in models] == [["last.pt"]] * len(during) + [["last.pt"], ["best.pt"]]
    assert [set(model.aliases) for model in (last, best)] == [{"epoch-3", "last"}, {"best", "latest"}]
    assert "epoch-2" in during[-1].aliases


def test_superseded_checkpoints_are_deleted(models: list[StoredArtifact]) -> None:
    *during, last, best = models

    assert [model.state for model in (last, best)] == ["COMMITTED"] * 2
    assert {model.state for model in during} == {"DELETED"}


def test_checkpoint_holds_model_and_optimizer_of_a_point_that_all_ranks_have_reached(
    trained: tuple[Job, WandbServer], models: list[StoredArtifact]
) -> None:
    notes = [
        dict(json.loads(line) for line in (trained[0].directory / f"optimizer-{rank}.jsonl").read_text().splitlines())
        for rank in (0, 1)
    ]
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
        assert metadata["epoch"] in {1, 2, 3}
        assert isinstance(metadata["fitness"], float)
        assert "metrics/mAP50(B)" in metadata["metrics"]
        assert metadata["train_args"]["optimizer"] == "SGD"


def test_nothing_is_left_beside_the_checkpoints(trained: tuple[Job, WandbServer]) -> None:
    weights = trained[0].directory / "train/weights"
    assert {path.name for path in weights.iterdir()} == {"best.pt", "last.pt", "wandb_run.json"}


def test_training_that_fails_leaves_its_last_checkpoint(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "fail_in_epoch_2", check=False)

    (artifact,) = (artifact for artifact in job.run.artifacts if artifact.type == "model")
    assert (set(artifact.aliases), set(artifact.entries)) == ({"latest", "last", "epoch-1"}, {"last.pt"})
    assert (job.run.state, job.run.exit_code) == ("failed", 1)


def test_checkpoint_in_s3_is_referred_to_and_linked(run_online: RunOnline, s3: S3Service) -> None:
    bucket = s3.make_bucket()
    _, server = run_online(SCENARIO, "store_in_s3", bucket, **s3.environment)

    (run,) = server.runs
    (model,) = (item for item in run.artifacts if item.type == "model")
    key = f"models/{run.id}/epoch-1/best.pt"
    entry = model.manifest["best.pt"]
    assert s3.keys(bucket) == [key]
    assert entry["ref"] == f"s3://{bucket}/{key}"
    assert json.loads(model.metadata or "{}")["sha256"] == hashlib.sha256(s3.get(bucket, key)).hexdigest()
    assert [linked for linked in server.backend.store.links.values() if model in linked]


def test_checkpoint_that_is_half_written_is_not_logged(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "damage_the_best_checkpoint", check=False)

    assert job.exit_code == 1
    assert "ValueError: best.pt of epoch 1 is no complete checkpoint (1000 bytes)" in job.output
    assert [artifact for artifact in job.run.artifacts if artifact.type == "model"] == []
    assert (job.run.state, job.run.exit_code) == ("failed", 1)


@NIGHTLY
def test_no_checkpoint_is_logged_where_none_is_wanted(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "log_no_checkpoints")

    assert [artifact for artifact in job.run.artifacts if artifact.type == "model"] == []
