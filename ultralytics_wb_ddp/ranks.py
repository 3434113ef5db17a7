"""Which process of a distributed training this is; read from the environment that torchrun sets."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ultralytics_wb_ddp.config import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Topology", "is_main_process"]


@dataclass(frozen=True)
class Topology:
    """Place of this process among the processes of one training.

    Attributes:
        rank: Number of this process among all, from 0.
        local_rank: Number of this process on its node, from 0.
        world_size: Number of processes on all nodes.
        local_world_size: Number of processes on this node.
        worker_index: Number of this node, from 0.
    """

    rank: int
    local_rank: int
    world_size: int
    local_world_size: int
    worker_index: int

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Topology | None:
        """Return the place of this process, or None outside a distributed training.

        Args:
            env: Environment variables; read are RANK, LOCAL_RANK, WORLD_SIZE, LOCAL_WORLD_SIZE and GROUP_RANK, as
                torchrun sets them. RANK alone makes a training distributed; the others fall back to one node.

        Raises:
            ConfigurationError: A variable is no integer, or the rank lies outside the world size.
        """
        rank = _integer(env, "RANK", -1)
        if rank < 0:  # Ultralytics, too, takes RANK=-1 for "not distributed"
            return None
        world_size = _integer(env, "WORLD_SIZE", rank + 1)
        if rank >= world_size:
            msg = f"RANK={rank} lies outside WORLD_SIZE={world_size}; ranks count from 0, as torchrun sets them"
            raise ConfigurationError(msg)
        return cls(
            rank=rank,
            local_rank=_integer(env, "LOCAL_RANK", rank),
            world_size=world_size,
            local_world_size=_integer(env, "LOCAL_WORLD_SIZE", world_size),
            worker_index=_integer(env, "GROUP_RANK", 0),
        )


def is_main_process(env: Mapping[str, str] = os.environ) -> bool:
    """Return whether this is global rank 0, or the only process."""
    topology = Topology.from_env(env)
    return topology is None or topology.rank == 0


def _integer(env: Mapping[str, str], name: str, default: int) -> int:
    """Return an environment variable as an integer; empty counts as missing."""
    text = env.get(name, "").strip()
    if not text:
        return default
    try:
        return int(text)
    except ValueError:
        msg = f"{name}={text!r} is no integer; torchrun sets it, unset it if this is no distributed training"
        raise ConfigurationError(msg) from None
