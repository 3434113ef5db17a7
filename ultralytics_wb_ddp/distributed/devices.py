"""Turn a device argument into one device per process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config.devices import parse_devices
from ultralytics_wb_ddp.config.validation import ConfigurationError
from ultralytics_wb_ddp.distributed.topology import Topology
from ultralytics_wb_ddp.distributed.trainer_mixin import device_names

if TYPE_CHECKING:
    from ultralytics_wb_ddp.distributed.parallel_config import ParallelConfig


def first_devices(count: int) -> str:
    """Return the first devices of this node, such as ``"0,1"`` for two processes.

    Raises:
        ConfigurationError: This process sees fewer GPUs.
    """
    import torch

    visible = torch.cuda.device_count()
    if torch.cuda.is_available() and visible < count:
        msg = (
            f"this process sees {visible} GPUs and its node has {count} processes; start fewer of them, or let each "
            f"see all GPUs of its node (srun --gpus-per-node instead of --gpus-per-task, CUDA_VISIBLE_DEVICES)"
        )
        raise ConfigurationError(msg)
    return ",".join(str(number) for number in range(count))


def get_own_device(device: Any, local_rank: int) -> int | None:
    """Return the number of this process's GPU; None without GPUs.

    Raises:
        ConfigurationError: The device names too few GPUs.
    """
    import torch

    names = device_names(device)
    if len(names) <= local_rank and names:
        msg = f"device={device!r} has none for LOCAL_RANK={local_rank}; name one for each process of the node"
        raise ConfigurationError(msg)
    is_gpu = torch.cuda.is_available() and bool(names) and names[local_rank].isdigit()
    return int(names[local_rank]) if is_gpu else None


def devices_of(device: Any, parallel: ParallelConfig) -> list[str]:
    """Return the devices of this machine, one for each process; none if Ultralytics chooses the device."""
    if parallel.is_distributed():
        topology = Topology.from_env()
        device = list(range(topology.local_world_size if topology else 1))
    elif device is None and parallel.world_size:
        device = list(range(parallel.world_size))
    return parse_devices(device)
