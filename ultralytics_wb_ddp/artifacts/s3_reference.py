"""Artifacts that refer to objects in S3, which are not copied."""

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
from ultralytics_wb_ddp.wandb_client.internals import add_reference_entry

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
    """Log an artifact that refers to S3. What can be wrong is found before anything is logged.

    Args:
        run: The ``wandb.Run``.
        s3_path: An object or a prefix: ``s3://bucket/key``; with ``?versionId=...`` an older version of an object.
        name: Name of the artifact.
        kind: Type of the artifact.
        aliases: Aliases of the artifact.
        metadata: Metadata of the artifact.
        checksum: Record size, ETag and version of each object. Without, the reference is one entry that names the
            place and may be one that the credentials cannot read.
        max_objects: How many objects a prefix may have.
        strict: Raise where something is in the way, instead of recording less or nothing, with a message.

    Returns:
        The ``wandb.Artifact``; None when nothing was recorded.

    Raises:
        S3Error: With ``strict``: what is referred to does not exist or cannot be checked.
        ConfigurationError: With ``strict``: W&B would refuse name, type, alias or metadata.
    """
    try:
        artifact = _make_artifact(name, kind, aliases, metadata)
        path = S3Path.parse(s3_path)
        found = _find(path, name, max_objects, checksum=checksum, strict=strict)
        for inside, item in found.items():
            _add(artifact, inside, path, item)
        if seen := [item for item in found.values() if item]:
            check_unchanged(path, seen)  # at the last moment: reading many objects takes a while
        return run.log_artifact(artifact, aliases=list(aliases) or None)
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
    """Return what is at a path by its path in the artifact; None where nothing is known about it."""
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


def _add(artifact: Any, inside: str, path: S3Path, found: S3Object | None) -> None:
    """Add what W&B's own handler of S3 would add, so that W&B downloads it."""
    place = found.path if found else path
    facts = {"etag": found and found.etag, "versionID": place.version}
    add_reference_entry(
        artifact,
        inside,
        f"s3://{place.bucket}/{place.key}",
        digest=found.etag if found else str(path),
        size=found.size if found else 0,
        extra={fact: value for fact, value in facts.items() if value},
    )
