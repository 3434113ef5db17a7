"""Find objects in S3 and report S3's errors with their remedy."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from ultralytics_wb_ddp.config.s3_path import S3Error, S3Path
from ultralytics_wb_ddp.utils.logging import format_exception

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


REQUESTS = 16  # in parallel: a prefix of 10,000 objects takes seconds instead of minutes
CONNECT_TIMEOUT, READ_TIMEOUT, ATTEMPTS = 10.0, 60.0, 3  # boto3's defaults wait five minutes for a dead endpoint
CREDENTIALS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"


class S3UnavailableError(S3Error):
    """An unanswered request: boto3, credentials or the endpoint are missing."""


class DeniedError(S3Error):
    """A request that S3 denies to these credentials."""


@dataclass(frozen=True)
class S3Object:
    """An object in S3.

    Attributes:
        path: Path of the object, with its version; the version is None in a bucket without versions.
        etag: S3's hash, which changes with the content.
    """

    path: S3Path
    size: int
    etag: str


def connect() -> Any:
    """Return a boto3 client for S3, with the settings that W&B uses.

    Raises:
        S3UnavailableError: boto3 or credentials are missing.
    """
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        msg = "boto3 is not installed; install it with: pip install 'ultralytics-wb-ddp[s3]'"
        raise S3UnavailableError(msg) from error
    config = Config(
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        max_pool_connections=REQUESTS,
    )
    session = boto3.session.Session()
    if session.get_credentials() is None:
        msg = f"no AWS credentials were found; {CREDENTIALS}"
        raise S3UnavailableError(msg)
    endpoint, region = os.environ.get("AWS_S3_ENDPOINT_URL") or None, os.environ.get("AWS_REGION") or None
    return session.client("s3", endpoint_url=endpoint, region_name=region, config=config)


def find_objects(path: S3Path, max_objects: int) -> dict[str, S3Object]:
    """Return the objects at or below a path by name.

    The name of a single object is the last part of its key. The name of an object below a prefix is the rest of its
    key. Empty objects that represent folders are left out. A prefix ends where a folder would: ``runs/1`` does not
    include ``runs/10``.

    Raises:
        S3UnavailableError: boto3 or credentials are missing, or S3 does not answer.
        S3Error: The path has no object, too many, a key that W&B cannot read back, or no read permission.
    """
    with s3_errors_as_user_errors(path):
        client = connect()
        if not path.key.endswith("/") and (item := _find_object(client, path)):
            return {path.name: item}
        if path.version:
            raise _not_found_error(client, path)
        return _find_below(client, path, max_objects)


def check_exists(path: S3Path) -> None:
    """Check that a path has an object, in two requests at most.

    Raises:
        S3UnavailableError: boto3 or credentials are missing, or S3 does not answer.
        S3Error: The path has no object, or no read permission.
    """
    with s3_errors_as_user_errors(path):
        client = connect()
        if not path.key.endswith("/") and _find_object(client, path):
            return
        if path.version or not client.list_objects_v2(Bucket=path.bucket, Prefix=_prefix(path), MaxKeys=1)["KeyCount"]:
            raise _not_found_error(client, path)


def check_unchanged(path: S3Path, objects: Collection[S3Object]) -> None:
    """Check that objects have not changed since they were read.

    A prefix takes one request for 1,000 objects.

    Raises:
        S3UnavailableError: boto3 or credentials are missing, or S3 does not answer.
        S3Error: An object was deleted or overwritten, and the version that was read does not exist.
    """
    with s3_errors_as_user_errors(path):
        client = connect()
        is_prefix = any(item.path.key != path.key for item in objects)
        now = {entry["Key"]: entry["ETag"].strip('"') for entry in _entries(client, path)} if is_prefix else {}
        for item in objects:
            if now.get(item.path.key) == item.etag:
                continue
            current = _find_object(client, item.path)
            if current is None or current.etag != item.etag:
                change = "overwritten" if current else "deleted"
                msg = f"{item.path} was {change} before it was recorded; try again when no process writes there"
                raise S3Error(msg)


def _prefix(path: S3Path) -> str:
    return path.key.rstrip("/") + "/"


def _not_found_error(client: Any, path: S3Path) -> S3Error:
    kind = "in this version" if path.version else "neither as an object nor as a prefix"
    return S3Error(f"{path} does not exist, {kind}, at {client.meta.endpoint_url}; check path and endpoint")


def _find_object(client: Any, path: S3Path) -> S3Object | None:
    from botocore.exceptions import ClientError

    version = {"VersionId": path.version} if path.version else {}
    try:
        head = client.head_object(Bucket=path.bucket, Key=path.key, **version)
    except ClientError as error:
        if _status(error) == 404 or (path.version and _status(error) == 400):  # noqa: PLR2004  # no such key, or version
            return None
        raise
    if "x-directory" in head.get("ContentType", ""):
        return None
    version_id = head.get("VersionId", "null")  # "null": older than the bucket's versioning
    versioned_path = S3Path(path.bucket, path.key, version_id if version_id != "null" else path.version)
    return S3Object(versioned_path, head["ContentLength"], head["ETag"].strip('"'))


def _entries(client: Any, path: S3Path) -> Iterator[dict[str, Any]]:
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=path.bucket, Prefix=_prefix(path)):
        yield from page.get("Contents", [])


def _find_below(client: Any, path: S3Path, max_objects: int) -> dict[str, S3Object]:
    prefix = _prefix(path)
    keys: list[str] = []
    for entry in _entries(client, path):
        keys += [entry["Key"]] if entry["Size"] or not entry["Key"].endswith("/") else []
        if len(keys) > max_objects:
            msg = f"{path} has more than {max_objects:,} objects; give a longer prefix, or a larger max_objects"
            raise S3Error(msg)
    if not keys:
        raise _not_found_error(client, path)
    for key in keys:
        _check_key(path.bucket, key, key.removeprefix(prefix))
    with ThreadPoolExecutor(REQUESTS) as pool:
        objects = list(pool.map(lambda key: _find_object(client, S3Path(path.bucket, key)), keys))
    gone = [key for key, item in zip(keys, objects) if item is None]
    if gone:
        msg = f"s3://{path.bucket}/{gone[0]} was deleted while {path} was read; try again when no process writes there"
        raise S3Error(msg)
    return {item.path.key.removeprefix(prefix): item for item in objects if item}


def _check_key(bucket: str, key: str, name: str) -> None:
    if urlparse(f"s3://{bucket}/{key}").path != f"/{key}":
        cause = "W&B cannot read back a key that holds '?', '#' or a line break"
    elif any(part in {"", ".", ".."} for part in name.split("/")):
        cause = "an artifact cannot hold a path with an empty part, '.' or '..'"
    else:
        return
    msg = f"s3://{bucket}/{key} cannot be referred to: {cause}; rename it, or give a prefix without it"
    raise S3Error(msg)


@contextmanager
def s3_errors_as_user_errors(path: S3Path, action: str = "read") -> Iterator[None]:
    """Convert boto3's errors to errors that name cause and remedy.

    Raises:
        S3UnavailableError: Credentials are missing, the endpoint does not answer, or S3 itself fails.
        S3Error: S3 refuses the request.
    """
    try:
        from botocore.exceptions import (
            BotoCoreError,
            ClientError,
            HTTPClientError,
            ParamValidationError,
        )
        from botocore.exceptions import (
            ConnectionError as NotConnected,
        )
    except ImportError:
        yield  # which raises that boto3 is missing
        return
    try:
        yield
    except ClientError as error:
        raise _to_s3_error(error, path, action) from error
    except (HTTPClientError, NotConnected) as error:
        msg = f"{path} cannot be reached: {format_exception(error)}; check the network and AWS_ENDPOINT_URL_S3"
        raise S3UnavailableError(msg) from error
    except ParamValidationError as error:
        msg = f"{path} is refused: {format_exception(error)}; check the name of the bucket"
        raise S3Error(msg) from error
    except BotoCoreError as error:  # credentials that are incomplete, a profile that is missing
        msg = f"AWS credentials or settings do not work: {format_exception(error)}; {CREDENTIALS}"
        raise S3UnavailableError(msg) from error


def _to_s3_error(error: Any, path: S3Path, action: str) -> S3Error:
    """Convert an error response of S3. HEAD responses have no text."""
    code, status = error.response["Error"].get("Code", ""), _status(error)
    if code == "NoSuchBucket":
        return S3Error(f"{path}: there is no bucket {path.bucket!r}; check it, and AWS_ENDPOINT_URL_S3")
    if status in {401, 403}:
        needed = "s3:GetObject, and s3:ListBucket for a prefix" if action == "read" else "s3:PutObject and s3:GetObject"
        return DeniedError(f"{path}: access denied ({code}); the credentials in use need {needed}")
    if status >= 500:  # noqa: PLR2004  # the server's own trouble
        return S3UnavailableError(f"{path}: S3 has trouble: {error}; try again later")
    return S3Error(f"{path} is refused: {error}; check path, region and credentials")


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
