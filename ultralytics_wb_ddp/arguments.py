"""Keyword arguments that functions hand on: their names and types, for editors and type checkers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypedDict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

__all__ = [
    "BlockArguments",
    "Checkpoints",
    "ErrorPolicy",
    "GroupArguments",
    "Mode",
    "OrphanPolicy",
    "RankScope",
    "RunArguments",
    "RunMode",
    "Strategy",
]

Mode = Literal["online", "offline", "disabled"]
RunMode = Literal["auto", "new", "shared"]
RankScope = Literal["global", "worker"]
Strategy = Literal["main", "node", "all"]
Checkpoints = Literal["best", "best+last", "all", "none"]
ErrorPolicy = Literal["warn", "raise"]
OrphanPolicy = Literal["continue", "stop"]


class RunArguments(TypedDict, total=False):
    """The options of ``add_wandb_callback``, explained at :class:`RunOptions`; None counts as not given."""

    project: str | None
    entity: str | None
    name: str | None
    group: str | None
    job_type: str | None
    tags: Sequence[str] | None
    notes: str | None
    mode: Mode | None
    dir: str | PathLike[str] | None
    run_mode: RunMode | None
    rank_scope: RankScope | None
    strategy: Strategy | None
    rank_metrics: bool | None
    batch_interval: int | None
    inputs: bool | None
    data_uri: str | None
    mistakes: int | None
    checkpoints: Checkpoints | None
    checkpoint_interval: int | None
    checkpoint_keep: int | None
    checkpoint_ttl: int | None
    checkpoint_store: str | None
    link: str | None
    on_error: ErrorPolicy | None
    on_launcher_lost: OrphanPolicy | None
    init_timeout: float | None
    finish_timeout: float | None
    flush_interval: float | None


class BlockArguments(RunArguments, total=False):
    """The options of ``wandb_config``: those of a manager besides."""

    id: str | None
    api_key: str | None
    keep_open: bool | None


class GroupArguments(TypedDict, total=False):
    """The options of ``WandbManager.group``, explained at :class:`RunGroup`."""

    job_type: str
    metrics: Sequence[str]
    resume: bool
