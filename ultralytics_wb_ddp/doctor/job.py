"""The devices that a job asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.ranks import Topology

if TYPE_CHECKING:
    from ultralytics_wb_ddp.parallel import ParallelConfig

__all__ = ["devices_of"]


def devices_of(device: Any, parallel: ParallelConfig) -> list[str]:
    """Return the devices of this machine by name, one for each process; none where Ultralytics chooses.

    Args:
        device: The job's ``train.device``.
        parallel: How many processes train.
    """
    if parallel.is_distributed():
        topology = Topology.from_env()
        device = list(range(topology.local_world_size if topology else 1))
    elif device is None and parallel.world_size:
        device = list(range(parallel.world_size))
    names = device if isinstance(device, list) else str("" if device is None else device).strip("[]() ").split(",")
    return [str(name).strip() for name in names if str(name).strip()]
