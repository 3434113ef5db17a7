"""Uploads to S3: what arrives, what is verified, what is refused; against moto's S3 server."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

from support.jobs import NIGHTLY
from support.s3_service import S3Service
from ultralytics_wb_ddp import S3Error, upload_to_s3
from ultralytics_wb_ddp.artifacts.s3_upload import PART
from ultralytics_wb_ddp.distributed.parallel_config import find_free_port

pytestmark = pytest.mark.usefixtures("no_s3")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    file = tmp_path / "best.pt"
    file.write_bytes(b"weights")
    return file


def on_event(monkeypatch: pytest.MonkeyPatch, event: str, react: Callable[[], object]) -> None:
    """React to an event of boto3."""

    class Session(boto3.session.Session):
        def client(self, *given: Any, **more: Any) -> Any:
            client = super().client(*given, **more)
            client.meta.events.register(event, lambda **_: react() and None)
            return client

    monkeypatch.setattr(boto3.session, "Session", Session)


def test_file_takes_the_key_or_its_own_name_below_a_folder(use: S3Service, checkpoint: Path) -> None:
    bucket = use.make_bucket()

    assert upload_to_s3(checkpoint, f"s3://{bucket}/final.pt") == f"s3://{bucket}/final.pt"
    assert upload_to_s3(str(checkpoint), f"s3://{bucket}/runs/1/") == f"s3://{bucket}/runs/1/best.pt"

    assert use.get(bucket, "final.pt") == use.get(bucket, "runs/1/best.pt") == b"weights"
    assert use.keys(bucket) == ["final.pt", "runs/1/best.pt"]


def test_directory_is_uploaded_under_relative_paths(use: S3Service, tmp_path: Path) -> None:
    bucket = use.make_bucket()
    (tmp_path / "train/weights").mkdir(parents=True)
    (tmp_path / "train/empty").write_bytes(b"")
    for name in ("best.pt", "last.pt"):
        (tmp_path / "train/weights" / name).write_text(name)

    assert upload_to_s3(tmp_path / "train", f"s3://{bucket}/runs/1") == f"s3://{bucket}/runs/1"

    assert use.keys(bucket) == ["runs/1/empty", "runs/1/weights/best.pt", "runs/1/weights/last.pt"]
    assert use.get(bucket, "runs/1/weights/last.pt") == b"last.pt"


@pytest.mark.parametrize(
    ("size", "checksums"),
    [
        (PART + 1, "when_supported"),
        (PART, "when_required"),
        pytest.param(PART, "when_supported", marks=NIGHTLY),
        pytest.param(PART + 1, "when_required", marks=NIGHTLY),
        pytest.param(2 * PART + 5, "when_supported", marks=NIGHTLY),
        pytest.param(2 * PART + 5, "when_required", marks=NIGHTLY),
    ],
)
def test_large_file_goes_in_parts_and_is_verified(
    use: S3Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, checksums: str
) -> None:
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", checksums)  # the second for services that have none
    bucket = use.make_bucket()
    content = os.urandom(size)
    (tmp_path / "best.pt").write_bytes(content)

    upload_to_s3(tmp_path / "best.pt", f"s3://{bucket}/best.pt")

    head = use.client.head_object(Bucket=bucket, Key="best.pt", ChecksumMode="ENABLED")
    assert head["ETag"].strip('"').endswith(f"-{-(-size // PART)}")
    assert ("ChecksumSHA256" in head) == (checksums == "when_supported")
    assert use.get(bucket, "best.pt") == content


@pytest.mark.parametrize(
    ("checksums", "checked"), [("when_supported", "SHA-256"), ("when_required", "ETag")], ids=["checksum", "ETag"]
)
def test_object_that_differs_from_the_file_is_named(
    use: S3Service, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, checksums: str, checked: str
) -> None:
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", checksums)
    bucket = use.make_bucket()
    other = {"ChecksumAlgorithm": "SHA256"} if checked == "SHA-256" else {}
    on_event(monkeypatch, "after-call.s3.PutObject", lambda: use.put(bucket, "best.pt", b"WEIGHTS", **other))

    with pytest.raises(S3Error, match=f"s3://{bucket}/best.pt has {checked} .* upload it again"):
        upload_to_s3(checkpoint, f"s3://{bucket}/best.pt")


@pytest.mark.parametrize(
    ("happens", "message"),
    [
        (lambda file: file.write_bytes(b"half of"), r"best\.pt' was written to while it was uploaded; upload it again"),
        (Path.unlink, r"best\.pt' cannot be read: .*check that it is there"),
    ],
    ids=["written", "gone"],
)
def test_file_that_changes_meanwhile_is_named(
    use: S3Service, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, happens: Callable[[Path], object], message: str
) -> None:
    bucket = use.make_bucket()
    on_event(monkeypatch, "after-call.s3.PutObject", lambda: happens(checkpoint))

    with pytest.raises(S3Error, match=message):
        upload_to_s3(checkpoint, f"s3://{bucket}/best.pt")


def test_progress_is_shown_on_a_terminal_only(
    use: S3Service, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket = use.make_bucket()

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    upload_to_s3(checkpoint, f"s3://{bucket}/best.pt")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    upload_to_s3(checkpoint, f"s3://{bucket}/best.pt", progress=False)
    assert terminal.getvalue() == ""
    upload_to_s3(checkpoint, f"s3://{bucket}/best.pt")

    assert f"s3://{bucket}/best.pt" in terminal.getvalue()
    assert "100%" in terminal.getvalue()


def test_upload_that_cannot_be_made_is_named(use: S3Service, checkpoint: Path, tmp_path: Path) -> None:
    bucket = use.make_bucket()
    use.deny(bucket, "secret/*")
    (tmp_path / "nothing").mkdir()
    for folder in ("odd", "some"):
        (tmp_path / folder).mkdir()
    (tmp_path / "some/best.pt").write_text("")
    (tmp_path / "odd/50%?.pt").write_text("")
    for local, path, message in (
        (checkpoint, "/elsewhere/best.pt", "is no S3 path"),
        (checkpoint, f"s3://{bucket}/best.pt?versionId=1", "leave out '[?]versionId="),
        (tmp_path / "none.pt", f"s3://{bucket}/best.pt", "none.pt' does not exist, or is neither a file nor a"),
        (tmp_path / "nothing", f"s3://{bucket}/runs", "nothing' holds no file to upload"),
        (tmp_path / "odd", f"s3://{bucket}/runs", r"runs/50%\?.pt' is no S3 path"),
        (checkpoint, "s3://no-such-bucket-here/best.pt", "there is no bucket 'no-such-bucket-here'"),
        (checkpoint, f"s3://{bucket}/secret/best.pt", "access denied .* s3:PutObject"),
        (tmp_path / "some", f"s3://{bucket}/secret", "access denied .* s3:PutObject"),
    ):
        with pytest.raises(S3Error, match=message):
            upload_to_s3(local, path)

    assert use.keys(bucket) == []


def test_file_that_cannot_be_sent_is_named(
    use: S3Service, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = use.make_bucket()
    large = tmp_path / "large.pt"
    large.write_bytes(b"x" * (PART + 1))
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{find_free_port()}")
        for file in (checkpoint, large):
            with pytest.raises(S3Error, match="cannot be reached"):
                upload_to_s3(file, f"s3://{bucket}/best.pt")
    with monkeypatch.context() as patch:
        patch.delenv("AWS_ACCESS_KEY_ID")
        patch.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(S3Error, match="no AWS credentials were found; set AWS_ACCESS_KEY_ID"):
            upload_to_s3(checkpoint, f"s3://{bucket}/best.pt")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "boto3", None)
        with pytest.raises(S3Error, match=r"boto3 is not installed; install it with: pip install"):
            upload_to_s3(checkpoint, f"s3://{bucket}/best.pt")
