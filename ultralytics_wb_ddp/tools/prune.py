"""Which checkpoints of a run W&B keeps: the best, the last, some of the newest, and those that people have named."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config.names import model_collection
from ultralytics_wb_ddp.utils.errors import UserError
from ultralytics_wb_ddp.utils.logging import format_exception
from ultralytics_wb_ddp.utils.progress import track
from ultralytics_wb_ddp.wandb_client.internals import no_login_prompt
from ultralytics_wb_ddp.wandb_client.server import API_TIMEOUT, DownloadError, find_run

if TYPE_CHECKING:
    from collections.abc import Iterable


EPOCH_ALIAS = re.compile(r"epoch-\d+|latest")  # aliases that keep no version


class RetentionError(UserError):
    """Checkpoints cannot be listed or removed: the message names the value, the cause and the remedy."""


@dataclass(frozen=True)
class CheckpointVersion:
    """A version of the artifact that holds a run's checkpoints.

    Attributes:
        number: Number of the version, from 0.
        aliases: What it is called.
        ttl: Days that it lives; None without an end.
        size: Size in bytes.
    """

    number: int
    aliases: tuple[str, ...] = ()
    ttl: int | None = None
    size: int = 0

    @property
    def is_named(self) -> bool:
        """Whether it has an alias that keeps it: ``best``, ``last``, or one that somebody gave it."""
        return any(not EPOCH_ALIAS.fullmatch(alias) for alias in self.aliases)


def superseded(versions: Iterable[CheckpointVersion], keep: int) -> list[CheckpointVersion]:
    """Return the versions that need not be kept, oldest first.

    Args:
        versions: All versions.
        keep: How many of the newest are kept besides those that have a name.
    """
    unnamed = sorted((version for version in versions if not version.is_named), key=lambda version: version.number)
    return unnamed[: max(0, len(unnamed) - keep)]


def prune(
    run: str, *, keep: int, ttl: int | None = None, dry_run: bool = False, progress: bool = False
) -> list[CheckpointVersion]:
    """Delete the checkpoints of a run that have been superseded, or give them a time to live.

    Args:
        run: Path of the run, ``entity/project/run-id``, or its web address.
        keep: How many of the newest are kept besides the best, the last and those that people have given an alias.
        ttl: Days that the others live on; None deletes them at once.
        dry_run: Only say which.
        progress: Show the progress on stderr where that is a terminal.

    Returns:
        The versions that were deleted or given a time to live.

    Raises:
        RetentionError: The run has no checkpoints at W&B, or this API key may not read or delete them.
    """
    try:
        at_wandb = find_run(run, None)
    except DownloadError as error:
        raise RetentionError(str(error)) from error
    try:
        artifacts = find_checkpoints(at_wandb.entity, at_wandb.project, at_wandb.id)
        found = {_describe(artifact): artifact for artifact in artifacts}
        chosen = [version for version in superseded(found, keep) if ttl is None or version.ttl != ttl]
        for version in track(() if dry_run else chosen, f"pruning {len(chosen)} checkpoints", visible=progress):
            _remove(found[version], ttl)
    except UserError as error:
        msg = f"the checkpoints of run {run!r} cannot be pruned: {error}"
        raise RetentionError(msg) from error
    except Exception as error:
        msg = (
            f"the checkpoints of run {run!r} cannot be pruned: {format_exception(error)}; check that it has logged "
            "some, and that this API key may delete artifacts"
        )
        raise RetentionError(msg) from error
    return chosen


def find_checkpoints(entity: str, project: str, run_id: str) -> list[Any]:
    """Return the versions of the artifact that holds a run's checkpoints, as W&B has them.

    Raises:
        Trouble: W&B cannot be asked.
        Exception: There is none; wandb raises several kinds.
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
