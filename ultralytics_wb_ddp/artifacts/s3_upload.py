"""Upload files to S3 and verify each of them."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.artifacts.s3_objects import connect, s3_errors_as_user_errors
from ultralytics_wb_ddp.config.s3_path import S3Error, S3Path
from ultralytics_wb_ddp.utils.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Callable


FILES = 4  # in parallel; boto3 sends the parts of each in parallel, too
PART = 16 << 20  # bytes
MAX_PARTS = 9_000  # S3 takes 10,000


@dataclass(frozen=True)
class Upload:
    """A file to upload, and its target.

    Attributes:
        changed: Modification time when the upload began, in nanoseconds.
    """

    file: Path
    path: S3Path
    size: int
    changed: int

    @property
    def part(self) -> int:
        """Size of a part in bytes; a smaller file has no parts."""
        return max(PART, -(-self.size // MAX_PARTS))

    @property
    def is_whole(self) -> bool:
        """Whether the file is sent in one request."""
        return self.size < self.part


def upload_to_s3(local: str | os.PathLike[str], s3_path: str, *, progress: bool = True) -> str:
    """Upload a file or a directory's files, and verify the objects.

    boto3 chooses endpoint and credentials. The verification compares the size and the SHA-256 that S3 computes. A
    service without SHA-256 is compared by ETag, unless the bucket's encryption makes the ETag useless. A
    local file that has changed meanwhile is an error.

    Args:
        local: A file or a directory. Links to directories are not followed.
        s3_path: ``s3://bucket/key``. A file takes the key, or its own name below a key that ends in ``/``; the files
            of a directory go below the key under their relative paths.
        progress: Show the progress on stderr if stderr is a terminal.

    Returns:
        The path of the object, or of the prefix, for :meth:`WandbManager.log_s3_artifact`.

    Raises:
        S3Error: The path has no file, S3 refuses or cannot be reached, or an object differs from its file.
    """
    target = S3Path.parse(s3_path)
    if target.version:
        msg = f"{s3_path!r} names a version, and S3 gives versions itself; leave out '?versionId=...'"
        raise S3Error(msg)
    source = Path(local)
    if source.is_file() and target.key.endswith("/"):
        target = replace(target, key=target.key + source.name)
    with s3_errors_as_user_errors(target, "write"):
        client = connect()
        uploads = _plan(source, target)
        with progress_bar(sum(upload.size for upload in uploads), str(target), visible=progress) as moved:
            _send_all(client, uploads, partial(_advance, moved, threading.Lock()))
    return str(target)


def _plan(source: Path, target: S3Path) -> list[Upload]:
    if source.is_file():
        files = {source: target}
    elif source.is_dir():
        paths = [Path(folder, name) for folder, _, names in os.walk(source) for name in names]
        prefix = target.key.rstrip("/")
        files = {
            file: replace(target, key=f"{prefix}/{file.relative_to(source).as_posix()}")
            for file in sorted(paths)
            if file.is_file()
        }
    else:
        msg = f"{str(source)!r} does not exist, or is neither a file nor a directory; check the path"
        raise S3Error(msg)
    if not files:
        msg = f"{str(source)!r} holds no file to upload; check the path"
        raise S3Error(msg)
    for path in files.values():
        S3Path.parse(str(path))  # refuses names that W&B cannot read back
    return [
        Upload(file, path, status.st_size, status.st_mtime_ns)
        for file, path in files.items()
        for status in [file.stat()]
    ]


def _send_all(client: Any, uploads: list[Upload], advance: Callable[[int], None]) -> None:
    """Upload files in parallel. The first error cancels the waiting ones."""
    with ThreadPoolExecutor(FILES) as pool:
        tasks = [pool.submit(_upload, client, upload, advance) for upload in uploads]
        try:
            for task in tasks:
                task.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _upload(client: Any, upload: Upload, advance: Callable[[int], None]) -> None:
    from boto3.exceptions import S3UploadFailedError
    from boto3.s3.transfer import TransferConfig

    config = TransferConfig(multipart_threshold=upload.part, multipart_chunksize=upload.part)
    checksum = {"ChecksumAlgorithm": "SHA256"} if _computes_checksums(client) else {}
    target = {"Bucket": upload.path.bucket, "Key": upload.path.key}
    try:
        client.upload_file(str(upload.file), **target, ExtraArgs=checksum, Config=config, Callback=advance)
        _verify(client, upload)
    except S3UploadFailedError as error:  # boto3 wraps some of S3's errors
        if error.__context__ is not None:
            with s3_errors_as_user_errors(upload.path, "write"):
                raise error.__context__ from None
        raise S3Error(str(error)) from error
    except OSError as error:
        msg = f"{str(upload.file)!r} cannot be read: {error}; check that it is there and its permissions"
        raise S3Error(msg) from error


def _computes_checksums(client: Any) -> bool:
    """Return whether to request checksums; a setting of boto3 disables them."""
    return getattr(client.meta.config, "request_checksum_calculation", "") != "when_required"


def _verify(client: Any, upload: Upload) -> None:
    """Compare the object with the file. Raise :class:`S3Error` if they differ or the file has changed meanwhile."""
    status = upload.file.stat()
    if (status.st_size, status.st_mtime_ns) != (upload.size, upload.changed):
        msg = f"{str(upload.file)!r} was written to while it was uploaded; upload it again when it is complete"
        raise S3Error(msg)
    head = client.head_object(Bucket=upload.path.bucket, Key=upload.path.key, ChecksumMode="ENABLED")
    checks: dict[str, tuple[Any, Any]] = {"size": (head["ContentLength"], upload.size)}
    if "ChecksumSHA256" in head:
        sha256, _ = _digest(upload, "sha256")
        remote_sha256 = head["ChecksumSHA256"].partition("-")[0]  # "-3" follows a checksum of three parts
        checks["SHA-256"] = remote_sha256, base64.b64encode(sha256).decode()
    elif "aws:kms" not in head.get("ServerSideEncryption", "") and "SSECustomerAlgorithm" not in head:
        md5, parts = _digest(upload, "md5")
        checks["ETag"] = head["ETag"].strip('"'), md5.hex() if upload.is_whole else f"{md5.hex()}-{parts}"
    for kind, (remote, local) in checks.items():
        if remote != local:
            msg = f"{upload.path} has {kind} {remote} and {str(upload.file)!r} has {local}; upload it again"
            raise S3Error(msg)


def _digest(upload: Upload, algorithm: str) -> tuple[bytes, int]:
    """Return a file's checksum by S3's rule, and the number of parts.

    The checksum of several parts is the checksum of their checksums.
    """
    digests: list[bytes] = []
    with upload.file.open("rb") as file:
        while (data := file.read(upload.part)) or not digests:
            digests.append(hashlib.new(algorithm, data, usedforsecurity=False).digest())
    if upload.is_whole:
        return digests[0], 1
    return hashlib.new(algorithm, b"".join(digests), usedforsecurity=False).digest(), len(digests)


def _advance(progress: Any, lock: threading.Lock, size: int) -> None:
    """Advance the progress by sent bytes, negative when a part is repeated."""
    if progress:
        with lock:
            progress.update(size)
