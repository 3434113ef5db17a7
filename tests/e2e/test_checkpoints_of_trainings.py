"""Checkpoints of trainings that fail, are in S3, are damaged, or are not wanted."""

from __future__ import annotations

import hashlib
import json

from support.jobs import NIGHTLY, RunJob, RunOnline
from support.s3_service import S3Service

SCENARIO = "checkpoints.py"


@NIGHTLY
def test_training_that_fails_leaves_its_last_checkpoint(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "fail_in_epoch_2", check=False)

    (artifact,) = (artifact for artifact in job.run.artifacts if artifact.type == "model")
    assert (set(artifact.aliases), set(artifact.entries)) == ({"latest", "last", "epoch-1"}, {"last.pt"})
    assert (job.run.state, job.run.exit_code) == ("failed", 1)


@NIGHTLY
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


@NIGHTLY
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
