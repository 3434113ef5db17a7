"""Parse S3 paths, ``s3://bucket/key``, without boto3."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ultralytics_wb_ddp.utils.errors import UserError

PATH = re.compile(r"s3://([^/?#]+)/([^?#]+)(?:\?versionId=([^?#&]+))?")


class S3Error(UserError):
    """An S3 path that cannot be referred to or written."""


@dataclass(frozen=True)
class S3Path:
    """Path of an object, or of all objects below a prefix.

    Attributes:
        key: Key of the object; a prefix may end in ``/``.
        version: Version of the object; None is the newest.
    """

    bucket: str
    key: str
    version: str | None = None

    @classmethod
    def parse(cls, text: str) -> S3Path:
        """Parse ``s3://bucket/key``. ``?versionId=...`` at the end names a version in a versioned bucket.

        Raises:
            S3Error: The text has another form.
        """
        match = PATH.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            msg = (
                f"{text!r} is no S3 path; give one of the form s3://bucket/key, where the key is that of an object or "
                "a prefix, without '?' and '#', which W&B cannot read back"
            )
            raise S3Error(msg)
        return cls(*match.groups())

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rstrip("/").rpartition("/")[2]

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}" + (f"?versionId={self.version}" if self.version else "")
