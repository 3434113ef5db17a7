"""Log artifacts that refer to objects in S3 without copying them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.artifacts.s3_objects import (
    DeniedError,
    S3Object,
    S3UnavailableError,
    check_exists,
    check_unchanged,
    find_objects,
)
from ultralytics_wb_ddp.config.names import alias_problem
from ultralytics_wb_ddp.config.s3_path import S3Path
from ultralytics_wb_ddp.config.validation import ConfigurationError
from ultralytics_wb_ddp.utils.logging import logger
from ultralytics_wb_ddp.wandb_client.internals import add_reference_entry, log_artifact

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def log_s3_reference(
    run: Any,
    s3_path: str,
    name: str,
    kind: str,
    *,
    aliases: Sequence[str] = (),
    metadata: Mapping[str, Any] | None = None,
    checksum: bool = True,
    max_objects: int = 10_000,
    strict: bool = False,
) -> Any:
    """Log an artifact that refers to S3.

    All checks precede the logging.

    Args:
        run: The ``wandb.Run``.
        s3_path: An object or a prefix: ``s3://bucket/key``; with ``?versionId=...`` an older version of an object.
        name: Name of the artifact.
        kind: Type of the artifact.
        aliases: Aliases of the artifact.
        metadata: Metadata of the artifact.
        checksum: Record size, ETag and version of each object. Without it the reference is one entry with the path. The
            credentials need no permission to read the path.
        max_objects: Maximum number of objects below a prefix.
        strict: Raise an error instead of logging a warning and recording less or nothing.

    Returns:
        The ``wandb.Artifact``; None if it was not recorded.

    Raises:
        S3Error: With ``strict``: the object or prefix does not exist or cannot be checked.
        ConfigurationError: With ``strict``: W&B would refuse name, type, alias or metadata.
    """
    try:
        artifact = _make_artifact(name, kind, aliases, metadata)
        path = S3Path.parse(s3_path)
        objects = _find(path, name, max_objects, checksum=checksum, strict=strict)
        for inside, item in objects.items():
            _add(artifact, inside, path, item)
        if checked := [item for item in objects.values() if item]:
            check_unchanged(path, checked)  # last, because many objects take a while to read
        return log_artifact(run, artifact, list(aliases) or None)
    except Exception as error:
        if strict:
            raise
        logger.warning("artifact %s, a reference to %s, is not recorded: %s", name, s3_path, error)
        return None


def _make_artifact(name: str, kind: str, aliases: Sequence[str], metadata: Mapping[str, Any] | None) -> Any:
    import wandb

    if isinstance(aliases, str):
        msg = f"aliases={aliases!r}: a list of aliases is expected; write [{aliases!r}]"
        raise ConfigurationError(msg)
    for alias in aliases:
        if problem := alias_problem(alias):
            msg = f"alias {alias!r}: {problem}"
            raise ConfigurationError(msg)
    try:
        return wandb.Artifact(name=name, type=kind, metadata=dict(metadata or {}))
    except (TypeError, ValueError) as error:
        msg = f"W&B refuses an artifact of name {name!r} and type {kind!r}: {error}; change what it complains of"
        raise ConfigurationError(msg) from error


def _find(
    path: S3Path, name: str, max_objects: int, *, checksum: bool, strict: bool
) -> dict[str, S3Object] | dict[str, None]:
    """Return the objects by their path in the artifact; None if unchecked."""
    if isinstance(max_objects, bool) or not isinstance(max_objects, int) or max_objects < 1:
        msg = f"max_objects={max_objects!r}: a whole number, 1 or more, is expected"
        raise ConfigurationError(msg)
    try:
        if checksum:
            return find_objects(path, max_objects)
        check_exists(path)
    except (S3UnavailableError, DeniedError) as trouble:
        if checksum and isinstance(trouble, DeniedError):
            msg = f"{trouble}; or record it unseen, with checksum=False"
            raise DeniedError(msg) from trouble
        if strict:
            raise
        logger.warning(
            "artifact %s refers to %s without checksum and size, and unseen: %s. wandb's own download needs a checksum",
            name,
            path,
            trouble,
        )
    return {path.name: None}


def _add(artifact: Any, inside: str, path: S3Path, item: S3Object | None) -> None:
    """Add an entry like W&B's own S3 handler, which then downloads it."""
    s3_path = item.path if item else path
    extra = {"etag": item and item.etag, "versionID": s3_path.version}
    add_reference_entry(
        artifact,
        inside,
        f"s3://{s3_path.bucket}/{s3_path.key}",
        digest=item.etag if item else str(path),
        size=item.size if item else 0,
        extra={key: value for key, value in extra.items() if value},
    )
