"""Prune a run's checkpoints except best, last, newest and aliased ones."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config.names import model_collection
from ultralytics_wb_ddp.utils.errors import UserError, raise_as
from ultralytics_wb_ddp.utils.logging import pluralize
from ultralytics_wb_ddp.utils.progress import track
from ultralytics_wb_ddp.wandb_client.internals import no_login_prompt
from ultralytics_wb_ddp.wandb_client.server import API_TIMEOUT, DownloadError, find_run

if TYPE_CHECKING:
    from collections.abc import Iterable


EPOCH_ALIAS = re.compile(r"epoch-\d+|latest")  # aliases that do not protect a version


class RetentionError(UserError):
    """Error for checkpoints that cannot be listed or removed."""


@dataclass(frozen=True)
class CheckpointVersion:
    """A version of the artifact that holds a run's checkpoints.

    Attributes:
        number: Number of the version, from 0.
        ttl: Time to live in days; None without a limit.
        size: Size in bytes.
    """

    number: int
    aliases: tuple[str, ...] = ()
    ttl: int | None = None
    size: int = 0

    @property
    def is_named(self) -> bool:
        """Whether an alias protects the version: ``best``, ``last`` or a user's alias."""
        return any(not EPOCH_ALIAS.fullmatch(alias) for alias in self.aliases)


def superseded(versions: Iterable[CheckpointVersion], keep: int) -> list[CheckpointVersion]:
    """Return the versions without a protecting alias, oldest first, except the newest ``keep``."""
    unnamed = sorted((version for version in versions if not version.is_named), key=lambda version: version.number)
    return unnamed[: max(0, len(unnamed) - keep)]


def prune(
    run: str, *, keep: int, ttl: int | None = None, dry_run: bool = False, progress: bool = False
) -> list[CheckpointVersion]:
    """Delete a run's superseded checkpoints, or set their time to live.

    Args:
        run: Path of the run, ``entity/project/run-id``, or its web address.
        keep: Number of the newest checkpoints that are kept besides the best, the last and those with a user's alias.
        ttl: Time to live in days of the superseded checkpoints; None deletes them at once.
        dry_run: Return the superseded versions and change nothing.
        progress: Show the progress on stderr if stderr is a terminal.

    Returns:
        The versions that were deleted or got a time to live.

    Raises:
        RetentionError: The run has no checkpoints at W&B, or this API key may not read or delete them.
    """
    try:
        run_at_wandb = find_run(run, None)
    except DownloadError as error:
        raise RetentionError(str(error)) from error
    problem = f"the checkpoints of run {run!r} cannot be pruned"
    remedy = "check that it has logged some, and that this API key may delete artifacts"
    with raise_as(RetentionError, problem, remedy):
        artifacts = find_checkpoints(run_at_wandb.entity, run_at_wandb.project, run_at_wandb.id)
        artifacts_by_version = {_describe(artifact): artifact for artifact in artifacts}
        superseded_versions = [
            version for version in superseded(artifacts_by_version, keep) if ttl is None or version.ttl != ttl
        ]
        for version in track(
            () if dry_run else superseded_versions,
            f"pruning {pluralize(len(superseded_versions), 'checkpoint')}",
            visible=progress,
        ):
            _remove(artifacts_by_version[version], ttl)
    return superseded_versions


def find_checkpoints(entity: str, project: str, run_id: str) -> list[Any]:
    """Return the versions of a run's checkpoint artifact from W&B.

    Raises:
        Exception: The run has no such artifact. wandb raises exceptions of several classes.
    """
    import wandb

    from ultralytics_wb_ddp.wandb_client.server import require_server

    require_server()
    with no_login_prompt():
        api = wandb.Api(timeout=API_TIMEOUT)
    return list(api.artifacts("model", f"{entity}/{project}/{model_collection(run_id)}"))


def _describe(artifact: Any) -> CheckpointVersion:
    ttl = None if artifact.ttl is None else artifact.ttl.days
    return CheckpointVersion(int(artifact.version.removeprefix("v")), tuple(artifact.aliases), ttl, artifact.size)


def _remove(artifact: Any, ttl: int | None) -> None:
    if ttl is None:
        artifact.delete(delete_aliases=True)
        return
    artifact.ttl = timedelta(days=ttl)
    artifact.save()
