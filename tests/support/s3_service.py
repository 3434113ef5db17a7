"""An S3 service on loopback for the tests: moto's server, in a process of its own, and what stands in its buckets."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError

from ultralytics_wb_ddp.distributed.parallel_config import find_free_port


class S3Service:
    """The service, as its owner sees it.

    Attributes:
        url: Its address.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        session = boto3.session.Session(aws_access_key_id="owner", aws_secret_access_key="owner")
        self.client: Any = session.client("s3", endpoint_url=self.url, region_name="us-east-1")
        self._names = (f"bucket-{number}" for number in itertools.count())

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which boto3, and so W&B, finds and enters it."""
        keys = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "tester"}
        return {**keys, "AWS_ENDPOINT_URL_S3": self.url, "AWS_REGION": "us-east-1"}

    def make_bucket(self, *, versioned: bool = False) -> str:
        """Make a bucket and return its name."""
        bucket = next(self._names)
        self.client.create_bucket(Bucket=bucket)
        if versioned:
            self.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        return bucket

    @contextmanager
    def bucket(self, name: str) -> Iterator[str]:
        """Have a new bucket of a certain name, for code that says which, while the ``with`` statement lasts."""
        self.client.create_bucket(Bucket=name)
        try:
            yield name
        finally:
            for key in self.keys(name):
                self.client.delete_object(Bucket=name, Key=key)
            self.client.delete_bucket(Bucket=name)

    def put(self, bucket: str, key: str, body: bytes = b"x", **more: str) -> str:
        """Store an object and return its version."""
        return str(self.client.put_object(Bucket=bucket, Key=key, Body=body, **more).get("VersionId"))

    def get(self, bucket: str, key: str) -> bytes:
        """Return the content of an object."""
        return bytes(self.client.get_object(Bucket=bucket, Key=key)["Body"].read())

    def keys(self, bucket: str) -> list[str]:
        """Return the keys of all objects of a bucket."""
        return [entry["Key"] for entry in self.client.list_objects_v2(Bucket=bucket).get("Contents", [])]

    def deny(self, bucket: str, *keys: str) -> None:
        """Deny everybody the objects that fit."""
        where = [f"arn:aws:s3:::{bucket}/{key}" for key in keys]
        rule = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": where}
        self.client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [rule]}))


@contextmanager
def s3_service() -> Iterator[S3Service]:
    """Run the service while the ``with`` statement lasts."""
    port = find_free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield _wait_for(S3Service(port), process)
        finally:
            process.kill()


def _wait_for(service: S3Service, process: subprocess.Popen[bytes]) -> S3Service:
    end = time.monotonic() + 60
    while not _answers(service):
        assert process.poll() is None, "moto's server ended"
        assert time.monotonic() < end, "moto's server does not answer"
        time.sleep(0.05)
    return service


def _answers(service: S3Service) -> bool:
    try:
        service.client.list_buckets()
    except BotoCoreError:
        return False
    return True
