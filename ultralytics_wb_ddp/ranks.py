"""Which process of a distributed training this is, and which run it logs to; decided from the environment alone."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config import RANK_SCOPES, RUN_MODES, ConfigurationError, check_choice

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "RankPlan",
    "Topology",
    "get_distributed_info",
    "is_main_process",
    "plan_rank",
]


@dataclass(frozen=True)
class Topology:
    """Place of this process among the processes of one training.

    Attributes:
        rank: Number of this process among all, from 0.
        local_rank: Number of this process on its node, from 0.
        world_size: Number of processes on all nodes.
        local_world_size: Number of processes on this node.
        worker_index: Number of this node, from 0; None where nothing tells it.
        num_workers: Number of nodes; None where nothing tells it.
    """

    rank: int
    local_rank: int
    world_size: int
    local_world_size: int
    worker_index: int | None
    num_workers: int | None

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Topology | None:
        """Return the place of this process, or None outside a distributed training.

        Args:
            env: Environment variables; read are RANK, LOCAL_RANK, WORLD_SIZE, LOCAL_WORLD_SIZE, GROUP_RANK and
                GROUP_WORLD_SIZE, as torchrun sets them, and without RANK those that ``srun`` sets. RANK and
                WORLD_SIZE make a training distributed; without LOCAL_WORLD_SIZE it counts as one on a single node.

        Raises:
            ConfigurationError: A variable is no integer, a rank lies outside the world size, or there is a LOCAL_RANK
                without a RANK.
        """
        rank = _integer(env, "RANK", None)
        if rank is None and env.get("LOCAL_RANK", "").strip() not in {"", "-1"}:
            msg = f"LOCAL_RANK={env['LOCAL_RANK']!r} is set without RANK; torchrun sets both, unset it otherwise"
            raise ConfigurationError(msg)
        if rank is None or rank < 0:  # Ultralytics, too, takes RANK=-1 for "not distributed"
            return None
        world_size = _at_least_1(env, "WORLD_SIZE", rank + 1)
        if rank >= world_size:
            msg = f"RANK={rank} lies outside WORLD_SIZE={world_size}; ranks count from 0, as torchrun sets them"
            raise ConfigurationError(msg)
        local_world_size = _at_least_1(env, "LOCAL_WORLD_SIZE", world_size)
        local_rank = _integer(env, "LOCAL_RANK", rank % local_world_size) or 0
        if local_rank >= local_world_size:
            msg = (
                f"LOCAL_RANK={local_rank} lies outside LOCAL_WORLD_SIZE={local_world_size}; local ranks count from "
                "0 on each node, as torchrun sets them"
            )
            raise ConfigurationError(msg)
        is_one_node = "LOCAL_WORLD_SIZE" in env and local_world_size == world_size
        return cls(
            rank=rank,
            local_rank=local_rank,
            world_size=world_size,
            local_world_size=local_world_size,
            worker_index=_integer(env, "GROUP_RANK", 0 if is_one_node or world_size == 1 else None),
            num_workers=_integer(env, "GROUP_WORLD_SIZE", None) or -(-world_size // local_world_size),
        )


@dataclass(frozen=True)
class RankPlan:
    """The run that a rank logs to.

    Attributes:
        run_id: Id of the run.
        group: Group of the run; None leaves it to the user.
        label: What tells this rank from the others of its run or group; None where one rank logs alone.
        primary: Whether this rank sets the state in which the run ends.
        mode: ``"auto"``, ``"new"`` or ``"shared"``.
    """

    run_id: str
    group: str | None = None
    label: str | None = None
    primary: bool = True
    mode: str = "auto"


def plan_rank(topology: Topology | None, run_mode: str, rank_scope: str, base_id: str) -> RankPlan | None:
    """Return the run that a rank logs to, or None for a rank that does not log.

    Args:
        topology: Place of the rank; None for a training in one process.
        run_mode: ``"auto"``: one rank logs for all of its scope. ``"new"``: every rank has a run of its own.
            ``"shared"``: every rank writes to one run of its scope, online only.
        rank_scope: ``"global"``: all ranks. ``"worker"``: the ranks of each node; on a single node the same.
        base_id: Id that the others are derived from: of the run that is continued, or a new one.

    Raises:
        ConfigurationError: An unknown mode or scope, or worker scope where nothing tells the node of the rank.
    """
    check_choice("run_mode", run_mode, RUN_MODES)
    check_choice("rank_scope", rank_scope, RANK_SCOPES)
    if topology is None:
        return RankPlan(base_id)
    if rank_scope == "worker" and topology.worker_index is None:
        msg = (
            "rank_scope='worker' needs to know the node of each rank, but GROUP_RANK and LOCAL_WORLD_SIZE are not set; "
            "launch with torchrun or srun, which tell it, or use rank_scope='global'"
        )
        raise ConfigurationError(msg)
    several = (topology.num_workers or 1) > 1
    by_node = several and rank_scope == "worker"
    node = f"worker-{topology.worker_index}"
    scope_id = f"{base_id}-{node}" if by_node else base_id
    is_first = (topology.local_rank if by_node else topology.rank) == 0
    if run_mode == "auto":
        return RankPlan(scope_id, label=node if by_node else None) if is_first else None
    on_node = f"{node}-rank-{topology.local_rank}"
    if run_mode == "new":
        label = on_node if by_node else f"rank-{topology.rank}"
        return RankPlan(f"{base_id}-{label}", group=scope_id, label=label, mode="new")
    has_node = several and topology.worker_index is not None
    label = on_node if has_node else f"rank-{topology.rank}"
    return RankPlan(scope_id, label=label, primary=is_first, mode="shared")


def is_main_process(env: Mapping[str, str] = os.environ) -> bool:
    """Return whether this is global rank 0, or the only process."""
    topology = Topology.from_env(env)
    return topology is None or topology.rank == 0


def get_distributed_info(env: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return the place of this process as a dictionary, such as for the config of a run.

    Returns:
        ``rank``, ``local_rank``, ``world_size``, ``local_world_size``, ``worker_index`` and ``num_workers`` as in
        :class:`Topology`, ``is_distributed`` and ``is_main_process``. A training in one process is rank 0 of 1.

    Raises:
        ConfigurationError: As for :meth:`Topology.from_env`.
    """
    topology = Topology.from_env(env)
    place = topology or Topology(0, 0, 1, 1, 0, 1)
    return {**asdict(place), "is_distributed": topology is not None, "is_main_process": place.rank == 0}


def _integer(env: Mapping[str, str], name: str, default: int | None) -> int | None:
    """Return an environment variable as an integer; empty counts as missing."""
    text = env.get(name, "").strip()
    if not text:
        return default
    try:
        return int(text)
    except ValueError:
        msg = f"{name}={text!r} is no integer; torchrun sets it, unset it if this is no distributed training"
        raise ConfigurationError(msg) from None


def _at_least_1(env: Mapping[str, str], name: str, default: int) -> int:
    number = _integer(env, name, default)
    if number is None or number < 1:
        msg = (
            f"{name}={number} is no number of processes; torchrun sets it, unset it if this is no distributed training"
        )
        raise ConfigurationError(msg)
    return number
