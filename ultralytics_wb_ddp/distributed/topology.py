"""Derive a process's rank and run from its environment variables."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, get_args

from ultralytics_wb_ddp.config.names import derived_id
from ultralytics_wb_ddp.config.options import RankScope, RunMode
from ultralytics_wb_ddp.config.validation import ConfigurationError, validate
from ultralytics_wb_ddp.distributed.slurm import integer, slurm_environment

if TYPE_CHECKING:
    from collections.abc import Mapping


UNSET = -1  # stands for a variable that is not set


@dataclass(frozen=True)
class Topology:
    """Ranks and sizes of this process in a distributed training.

    Attributes:
        rank: Number of this process among all, from 0.
        local_rank: Number of this process on its node, from 0.
        world_size: Number of processes on all nodes.
        local_world_size: Number of processes on this node.
        worker_index: Number of this node, from 0; None if it is unknown.
        num_workers: Number of nodes; 1 without LOCAL_WORLD_SIZE.
    """

    rank: int
    local_rank: int
    world_size: int
    local_world_size: int
    worker_index: int | None
    num_workers: int

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Topology | None:
        """Return the topology of this process, or None outside a distributed training.

        Args:
            env: Environment variables, by default those of this process. Torchrun's RANK, LOCAL_RANK, WORLD_SIZE,
                LOCAL_WORLD_SIZE, GROUP_RANK and GROUP_WORLD_SIZE are read; without RANK, those of ``srun``. RANK and
                WORLD_SIZE make a training distributed. Without LOCAL_WORLD_SIZE it counts as one on a single node.

        Raises:
            ConfigurationError: A variable is no integer, a rank is outside the world size, or LOCAL_RANK is set
                without RANK.
        """
        env = os.environ if env is None else env
        if not env.get("RANK", "").strip():
            env = {**env, **slurm_environment(env)}
        rank = integer(env, "RANK", UNSET)
        if rank < 0:  # Ultralytics, too, takes RANK=-1 for "not distributed"
            if "RANK" not in env:
                reject_lone_local_rank(env)
            return None
        world_size = integer(env, "WORLD_SIZE", rank + 1)
        local_world_size = integer(env, "LOCAL_WORLD_SIZE", world_size)
        local_rank = validate_ranks(env, rank, world_size, local_world_size)
        is_one_node = world_size == 1 or ("LOCAL_WORLD_SIZE" in env and local_world_size == world_size)
        worker_index = integer(env, "GROUP_RANK", 0 if is_one_node else UNSET)
        return cls(
            rank=rank,
            local_rank=local_rank,
            world_size=world_size,
            local_world_size=local_world_size,
            worker_index=worker_index if worker_index >= 0 else None,
            num_workers=integer(env, "GROUP_WORLD_SIZE", -(-world_size // local_world_size)),
        )


@dataclass(frozen=True)
class RankPlan:
    """The run that a rank logs to.

    Attributes:
        run_id: Id of the run.
        group: Group of the run; None for the user's group.
        label: Name of this rank within its run or group; None if one rank logs alone.
        primary: Whether this rank sets the state in which the run ends.
        mode: ``"auto"``, ``"new"`` or ``"shared"``.
    """

    run_id: str
    group: str | None = None
    label: str | None = None
    primary: bool = True
    mode: str = "auto"

    def within(self, group: str | None) -> RankPlan:
        """Return the plan with the user's group instead of the ranks' group."""
        return replace(self, group=group) if group and self.group else self


def plan_rank(topology: Topology | None, run_mode: str, rank_scope: str, base_id: str) -> RankPlan | None:
    """Return the run that a rank logs to, or None without one.

    Args:
        topology: Topology of the rank; None for a training in one process.
        run_mode: ``"auto"``: one rank logs for all of its scope. ``"new"``: every rank has a run of its own.
            ``"shared"``: every rank writes to one run of its scope, online only.
        rank_scope: ``"global"``: all ranks. ``"worker"``: the ranks of each node; the same on a single node.
        base_id: Id from which the ids of all runs are derived: that of a continued run, or a new one.

    Raises:
        ConfigurationError: The mode or the scope is unknown, or the scope is ``"worker"`` and the rank's node is
            unknown.
    """
    if run_mode not in get_args(RunMode) or rank_scope not in get_args(RankScope):
        validate(RunMode, run_mode, "run_mode")
        validate(RankScope, rank_scope, "rank_scope")
    if topology is None:
        return RankPlan(base_id)
    if rank_scope == "worker" and topology.worker_index is None:
        msg = (
            "rank_scope='worker' needs to know the node of each rank, but GROUP_RANK and LOCAL_WORLD_SIZE are not set; "
            "launch with torchrun or srun, which set them, or use rank_scope='global'"
        )
        raise ConfigurationError(msg)
    several = topology.num_workers > 1
    by_node = several and rank_scope == "worker"
    node = f"worker-{topology.worker_index}"
    scope_id = derived_id(base_id, node) if by_node else base_id
    is_first = (topology.local_rank if by_node else topology.rank) == 0
    if run_mode == "auto":
        return RankPlan(scope_id, label=node if by_node else None) if is_first else None
    on_node = f"{node}-rank-{topology.local_rank}"
    if run_mode == "new":
        label = on_node if by_node else f"rank-{topology.rank}"
        return RankPlan(derived_id(base_id, label), group=scope_id, label=label, mode="new")
    has_node = several and topology.worker_index is not None
    label = on_node if has_node else f"rank-{topology.rank}"
    return RankPlan(scope_id, label=label, primary=is_first, mode="shared")


def plan_nodes(topology: Topology | None, run_mode: str, rank_scope: str, base_id: str) -> dict[str, RankPlan]:
    """Return the plan of each node's first rank by the node's name.

    The arguments are those of :func:`plan_rank`. The dictionary is empty unless each node has a run of its own.
    """
    if topology is None or rank_scope != "worker" or topology.num_workers == 1:
        return {}
    nodes = (replace(topology, local_rank=0, worker_index=node) for node in range(topology.num_workers))
    plans = {f"worker-{node.worker_index}": plan_rank(node, run_mode, rank_scope, base_id) for node in nodes}
    return {name: plan for name, plan in plans.items() if plan}


def is_main_process(env: Mapping[str, str] | None = None) -> bool:
    """Return whether this is global rank 0, or the only process.

    Args:
        env: Environment variables, by default those of this process.

    Raises:
        ConfigurationError: As for :meth:`Topology.from_env`.
    """
    topology = Topology.from_env(env)
    return topology is None or topology.rank == 0


def get_distributed_info(env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the topology of this process as a dictionary.

    Args:
        env: Environment variables, by default those of this process.

    Returns:
        ``rank``, ``local_rank``, ``world_size``, ``local_world_size``, ``worker_index`` and ``num_workers`` as in
        :class:`Topology`, ``is_distributed`` and ``is_main_process``. A training in one process is rank 0 of 1.

    Raises:
        ConfigurationError: As for :meth:`Topology.from_env`.
    """
    topology = Topology.from_env(env)
    position = topology or Topology(0, 0, 1, 1, 0, 1)
    return {**asdict(position), "is_distributed": topology is not None, "is_main_process": position.rank == 0}


def validate_ranks(env: Mapping[str, str], rank: int, world_size: int, local_world_size: int) -> int:
    """Return the local rank of a process, checked.

    Without LOCAL_RANK, all nodes count as having the same number of processes.

    Raises:
        ConfigurationError: A size is less than 1, or a rank is outside of its size.
    """
    _check_place("RANK", rank, "WORLD_SIZE", world_size)
    local_rank = integer(env, "LOCAL_RANK", rank % max(local_world_size, 1))
    _check_place("LOCAL_RANK", local_rank, "LOCAL_WORLD_SIZE", local_world_size)
    return local_rank


def reject_lone_local_rank(env: Mapping[str, str]) -> None:
    """Raise :class:`ConfigurationError` for LOCAL_RANK in a process without RANK."""
    if integer(env, "LOCAL_RANK", UNSET) >= 0:
        msg = (
            f"LOCAL_RANK={env['LOCAL_RANK']} is set and RANK is not; torchrun sets both, unset LOCAL_RANK if this is "
            "no distributed training"
        )
        raise ConfigurationError(msg)


def _check_place(name: str, rank: int, size_name: str, size: int) -> None:
    if size < 1:
        msg = f"{size_name}={size}: there is at least one process; torchrun sets it"
        raise ConfigurationError(msg)
    if not 0 <= rank < size:
        msg = f"{name}={rank} is outside {size_name}={size}; ranks count from 0, as torchrun sets them"
        raise ConfigurationError(msg)
