"""Artifacts that refer to S3: the real W&B client, and moto's S3 server in a process of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import wandb
from wandb_server import WandbServer

from support.jobs import NIGHTLY, RunJob
from support.s3_service import S3Service
from ultralytics_wb_ddp import ConfigurationError, S3Error, WandbManager
from ultralytics_wb_ddp.artifacts import s3_reference as references
from ultralytics_wb_ddp.distributed.parallel_config import find_free_port
from ultralytics_wb_ddp.wandb_client.run_file import RecordedArtifact, find_run_files, read_run

SCENARIO = "s3_references.py"
pytestmark = pytest.mark.usefixtures("no_s3")


class Job:
    """A job whose run is on disk."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.manager = WandbManager({"wandb": {"project": "demo", "mode": "offline", "dir": str(directory)}}, "job")
        self.manager.initialize()

    def __call__(self, path: str, name: str = "model", **more: Any) -> Any:
        return self.manager.log_s3_artifact(path, name, **more)

    def logged(self) -> list[RecordedArtifact]:
        """Finish the run and return its artifacts."""
        self.manager.finish()
        wandb.teardown()  # finish() does not wait for the file to be written
        (file,) = find_run_files(self.directory)
        return read_run(file).artifacts


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Job]:
    """``log_s3_artifact`` of a manager, with an artifact's name given."""
    job = Job(tmp_path)
    yield job
    job.manager.finish()


def entries(artifact: Any) -> dict[str, tuple[Any, ...]]:
    """Return what the download needs of each entry."""
    return {
        path: (entry.ref, entry.digest, entry.size, entry.extra) for path, entry in artifact.manifest.entries.items()
    }


@pytest.mark.parametrize(
    ("place", "versioned"),
    [
        ("runs/1", True),
        pytest.param("runs/1", False, marks=NIGHTLY),
        pytest.param("runs/1/", True, marks=NIGHTLY),
        pytest.param("runs/1/", False, marks=NIGHTLY),
        pytest.param("runs/1/best.pt", True, marks=NIGHTLY),
        pytest.param("runs/1/best.pt", False, marks=NIGHTLY),
    ],
)
def test_reference_holds_what_wandb_would_record(use: S3Service, log: Job, place: str, *, versioned: bool) -> None:
    bucket = use.make_bucket(versioned=versioned)
    use.put(bucket, "runs/1/best.pt", b"best")
    use.put(bucket, "runs/1/deep/last.pt", b"last one")
    by_wandb = wandb.Artifact("model", type="model")
    by_wandb.add_reference(f"s3://{bucket}/{place}")
    use.put(bucket, "runs/1/", b"")  # with which consoles mark a folder, and of which wandb would record nothing

    artifact = log(f"s3://{bucket}/{place}")

    assert entries(artifact) == entries(by_wandb)
    assert artifact.digest == by_wandb.digest
    assert len(entries(artifact)) == (1 if place.endswith("pt") else 2)


@NIGHTLY
def test_reference_is_what_wandb_downloads_also_when_the_object_has_changed(
    s3: S3Service, run_job: RunJob, tmp_path: Path
) -> None:
    bucket = s3.make_bucket(versioned=True)
    first = s3.put(bucket, "runs/1/best.pt", b"first")
    s3.put(bucket, "runs/1/best.pt", b"second")
    s3.put(bucket, "runs/1/empty", b"")
    with WandbServer() as server:
        environment = {**server.environment, **s3.environment, "WANDB_CACHE_DIR": str(tmp_path)}
        run_job(SCENARIO, "log_change_and_download", bucket, first, **environment)
        (run,) = server.runs

    assert [(artifact.name, artifact.type) for artifact in run.artifacts] == [
        ("folder", "dataset"),
        ("model", "model"),
        ("older", "model"),
    ]
    assert json.loads(run.artifacts[0].metadata or "") == {"rows": 1}
    assert "best" in run.artifacts[1].aliases
    assert run.artifacts[2].manifest["best.pt"]["extra"]["versionID"] == first


@NIGHTLY
def test_prefix_ends_where_a_folder_would(use: S3Service, log: Job) -> None:
    bucket = use.make_bucket()
    use.put(bucket, "runs/1/best.pt")
    use.put(bucket, "runs/10/best.pt")

    assert entries(log(f"s3://{bucket}/runs/1")).keys() == {"best.pt"}


@pytest.mark.parametrize(
    "variable",
    [
        "AWS_S3_ENDPOINT_URL",
        pytest.param("AWS_ENDPOINT_URL", marks=NIGHTLY),
        pytest.param("AWS_ENDPOINT_URL_S3", marks=NIGHTLY),
    ],
)
def test_endpoint_is_taken_from_the_variables_of_boto3_and_wandb(
    use: S3Service, log: Job, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    bucket = use.make_bucket()
    use.put(bucket, "best.pt")
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    monkeypatch.setenv(variable, use.url)

    assert entries(log(f"s3://{bucket}/best.pt", strict=True)).keys() == {"best.pt"}


# What is wrong is found before anything is logged


def make_trouble(s3: S3Service) -> str:
    """Make a bucket in which some things cannot be referred to."""
    bucket = s3.make_bucket()
    s3.put(bucket, "best.pt")
    s3.put(bucket, "secret/best.pt")
    for number in range(3):
        s3.put(bucket, f"many/{number}")
    s3.put(bucket, "odd/50%?.pt")
    s3.put(bucket, "up/../best.pt")
    s3.deny(bucket, "secret/*")
    return bucket


TROUBLES: list[tuple[str, dict[str, Any], str]] = [
    ("/local/best.pt", {}, "is no S3 path; give one of the form s3://bucket/key"),
    ("gs://bucket/best.pt", {}, "is no S3 path"),
    ("s3://bucket", {}, "is no S3 path"),
    ("s3://bucket/", {}, "is no S3 path"),
    ("", {}, "is no S3 path"),
    ("s3://bucket/best.pt#1", {}, "without '[?]' and '#', which W&B cannot read back"),
    ("s3://no-such-bucket-here/best.pt", {}, "no bucket 'no-such-bucket-here'; check it, and AWS_ENDPOINT_URL_S3"),
    ("s3://NO_bucket!/best.pt", {}, "check the name of the bucket"),
    ("s3://{}/none.pt", {}, "does not exist, neither as an object nor as a prefix, at http://127.0.0.1"),
    ("s3://{}/best.pt?versionId=none", {}, "does not exist, in this version"),
    ("s3://{}/none.pt", {"checksum": False}, "does not exist, neither as an object nor as a prefix"),
    ("s3://{}/secret/best.pt", {}, "access denied .* s3:GetObject.* checksum=False"),
    ("s3://{}/secret", {}, "access denied"),
    ("s3://{}/many", {"max_objects": 2}, "more than 2 objects; give a longer prefix, or a larger max_objects"),
    ("s3://{}/many", {"max_objects": 0}, "max_objects=0: a whole number, 1 or more"),
    ("s3://{}/odd", {}, "W&B cannot read back a key that holds '[?]'"),
    ("s3://{}/up", {}, "an artifact cannot hold a path with .*'[.][.]'"),
    ("s3://{}/best.pt", {"name": "no/such name"}, "W&B refuses an artifact of name 'no/such name'"),
    ("s3://{}/best.pt", {"artifact_type": "wandb-x"}, "W&B refuses an artifact of name 'model' and type 'wandb-x'"),
    ("s3://{}/best.pt", {"aliases": ["a/b"]}, "alias 'a/b': W&B refuses / in an alias; replace them"),
    ("s3://{}/best.pt", {"aliases": ["v3"]}, "alias 'v3': W&B gives such names to versions itself"),
    ("s3://{}/best.pt", {"aliases": "best"}, r"write \['best'\]"),
    ("s3://{}/best.pt", {"metadata": {str(number): 0 for number in range(101)}}, "not have more than 100 metadata"),
]


def test_place_that_cannot_be_referred_to_leaves_a_message_and_no_artifact(
    use: S3Service, log: Job, caplog: pytest.LogCaptureFixture
) -> None:
    bucket = make_trouble(use)
    for path, more, message in TROUBLES:
        place = path.format(bucket)
        caplog.clear()

        assert log(place, **more) is None

        assert f"a reference to {place}, is not recorded: " in caplog.text
        assert re.search(message, caplog.text), caplog.text
        with pytest.raises((S3Error, ConfigurationError), match=message):
            log(place, strict=True, **more)

    log.manager.run.log({"goes": "on"})
    assert log.logged() == []


@NIGHTLY
def test_object_that_is_deleted_while_its_prefix_is_read(
    use: S3Service, log: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = use.make_bucket()
    for name in ("a", "b"):
        use.put(bucket, f"runs/{name}")

    class Meddler(boto3.session.Session):
        """Deletes one object as soon as the list of objects has arrived."""

        def client(self, *given: Any, **more: Any) -> Any:
            client = super().client(*given, **more)
            client.meta.events.register("after-call.s3.ListObjectsV2", self.meddle)
            return client

        def meddle(self, **_: Any) -> None:
            use.client.delete_object(Bucket=bucket, Key="runs/b")

    monkeypatch.setattr(boto3.session, "Session", Meddler)

    with pytest.raises(S3Error, match=f"s3://{bucket}/runs/b was deleted while .* try again"):
        log(f"s3://{bucket}/runs", strict=True)
    assert log.logged() == []


@pytest.mark.parametrize(
    ("change", "place", "versioned"),
    [
        ("overwritten", "runs/b", False),
        ("deleted", "runs", True),
        pytest.param("deleted", "runs", False, marks=NIGHTLY),
        pytest.param("deleted", "runs/b", False, marks=NIGHTLY),
        pytest.param("deleted", "runs/b", True, marks=NIGHTLY),
        pytest.param("overwritten", "runs/b", True, marks=NIGHTLY),
    ],
)
def test_object_that_changes_after_it_was_read_and_before_it_is_recorded(
    use: S3Service, log: Job, monkeypatch: pytest.MonkeyPatch, change: str, place: str, *, versioned: bool
) -> None:
    bucket = use.make_bucket(versioned=versioned)
    for name in ("a", "b"):
        use.put(bucket, f"runs/{name}")
    found = references.find_objects

    def find_and_meddle(*given: Any) -> Any:
        """Write to S3 as another machine does, when everything has been read."""
        objects = found(*given)
        if change == "deleted":
            use.client.delete_object(Bucket=bucket, Key="runs/b")
        else:
            use.put(bucket, "runs/b", b"something else")
        return objects

    monkeypatch.setattr(references, "find_objects", find_and_meddle)

    if versioned:  # the version that was read is still there
        assert log(f"s3://{bucket}/{place}", strict=True) is not None
        assert len(log.logged()) == 1
    else:
        with pytest.raises(S3Error, match=f"s3://{bucket}/runs/b was {change} before .* try again"):
            log(f"s3://{bucket}/{place}", strict=True)
        assert log.logged() == []


# What cannot be asked is referred to unseen


def test_without_credentials_a_reference_has_no_checksum(log: Job, caplog: pytest.LogCaptureFixture) -> None:
    artifact = log("s3://bucket/models/best.pt?versionId=7")

    assert entries(artifact) == {
        "best.pt": ("s3://bucket/models/best.pt", "s3://bucket/models/best.pt?versionId=7", 0, {"versionID": "7"})
    }
    assert "without checksum and size, and unseen: no AWS credentials were found; set AWS_ACCESS_KEY_ID" in caplog.text
    with pytest.raises(S3Error, match="no AWS credentials"):
        log("s3://bucket/models/best.pt", strict=True)
    (record,) = log.logged()
    assert record.entries == {"best.pt": "s3://bucket/models/best.pt"}


@NIGHTLY
def test_without_boto3_a_reference_has_no_checksum_and_says_what_to_install(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "log_without_boto3")

    (artifact,) = job.run.artifacts
    assert artifact.entries == {"best.pt": "s3://bucket/runs/1/best.pt"}
    assert "unseen: boto3 is not installed; install it with: pip install 'ultralytics-wb-ddp[s3]'" in job.output
    assert "raised boto3 is not installed" in job.output


@pytest.mark.timeout(120)
def test_where_no_service_answers_a_reference_has_no_checksum(
    use: S3Service, log: Job, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", use.url.replace(use.url.rpartition(":")[2], str(find_free_port())))

    assert entries(log("s3://bucket/best.pt")).keys() == {"best.pt"}
    assert "cannot be reached" in caplog.text


@NIGHTLY
def test_incomplete_credentials_are_named(
    log: Job, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nowhere")

    assert log("s3://bucket/best.pt") is not None

    assert "credentials or settings do not work: ProfileNotFound: The config profile (nowhere)" in caplog.text


def test_without_checksum_a_place_that_may_not_be_read_is_recorded(
    use: S3Service, log: Job, caplog: pytest.LogCaptureFixture
) -> None:
    bucket = make_trouble(use)

    readable = log(f"s3://{bucket}/many", checksum=False, max_objects=1)
    assert caplog.text == ""
    unreadable = log(f"s3://{bucket}/secret/best.pt", "other", checksum=False)

    assert entries(readable) == {"many": (f"s3://{bucket}/many", f"s3://{bucket}/many", 0, {})}
    assert entries(unreadable).keys() == {"best.pt"}
    assert "access denied" in caplog.text
