"""Train in processes that torchrun, srun or spawn started, or launch them."""

from __future__ import annotations

import functools
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config.validation import ConfigurationError
from ultralytics_wb_ddp.distributed.devices import first_devices, get_own_device
from ultralytics_wb_ddp.distributed.parallel_config import ParallelConfig
from ultralytics_wb_ddp.distributed.rendezvous import has_process_group, watch_rendezvous
from ultralytics_wb_ddp.distributed.slurm import integer
from ultralytics_wb_ddp.distributed.trainer_mixin import (
    DistributedTrainerMixin,
    device_names,
    patched_attribute,
    spans_nodes,
)
from ultralytics_wb_ddp.utils.versions import version_of

if TYPE_CHECKING:
    from collections.abc import Callable

COLLECTIVE_TIMEOUT = timedelta(hours=3)  # the same as in Ultralytics
MIN_VERSION_MULTI_NODE = (8, 4, 90)  # from here on the device follows the local rank
WORKER_SETTINGS = ("backend", "output_device", "find_unused_parameters")  # settings that workers apply
MIN_VERSION_PICKLED_TRAINER = (8, 4, 140)  # from here on workers get trainer classes that are created at run time
_stores: dict[tuple[str, ...], Any] = {}  # rendezvous stores by address: opened once, used by all trainings of a job
_groups: list[str] = []  # names of the process groups that this process has joined
_START = 'if __name__ == "__main__":\n'  # in the start file of a launch
_LOADER = """\
    import sys
    sys.path[:0] = [entry for entry in {path!r} if entry not in sys.path]
    from ultralytics_wb_ddp.distributed.train import with_settings
"""


def refresh_ultralytics_rank_constants() -> None:
    """Update Ultralytics' constants RANK, LOCAL_RANK and WORLD_SIZE from the environment.

    Ultralytics reads the variables when it is imported. That is too early in a child of
    ``torch.multiprocessing.spawn``, which imports the script before its function sets them, and if Slurm's variables
    are translated.

    Raises:
        ConfigurationError: A variable is no integer.
    """
    utils = sys.modules.get("ultralytics.utils")
    if utils is None:
        return
    world_size = integer(os.environ, "WORLD_SIZE", 1)
    alone = world_size < 2 and hasattr(utils, "WORLD_SIZE")  # noqa: PLR2004  # newer releases: one process has no rank
    constants = {
        "RANK": -1 if alone else integer(os.environ, "RANK", -1),
        "LOCAL_RANK": -1 if alone else integer(os.environ, "LOCAL_RANK", -1),
        "WORLD_SIZE": world_size,
    }
    for name, module in list(sys.modules.items()):
        if name == "ultralytics" or name.startswith("ultralytics."):
            for constant, value in constants.items():
                if isinstance(vars(module).get(constant), int):
                    setattr(module, constant, value)


def train_distributed(
    model: Any, *, parallel: Any = None, trainer: type | None = None, device: Any = None, **train_arguments: Any
) -> Any:
    """Train a model in several processes, on any number of nodes.

    A process that was started by torchrun, srun, ``torch.multiprocessing.spawn`` or by hand becomes one rank of the
    training. Any other process launches workers on this machine, as ``model.train`` does.

    Args:
        model: An ``ultralytics.YOLO`` or another Ultralytics model.
        parallel: A :class:`ParallelConfig`, a config with a section ``parallel``, or the section alone.
        trainer: Trainer class, as for ``model.train``.
        device: The devices of this node, one for each of its processes; by default the first ones.
        **train_arguments: As for ``model.train``.

    Returns:
        The result of ``model.train``; None in all ranks but 0.

    Raises:
        ConfigurationError: Settings, environment and devices do not fit together, or the port is in use.
    """
    config = ParallelConfig.from_argument(parallel)
    if not config.is_distributed():
        return _launch(model, config, trainer, device, train_arguments)

    os.environ.update(config.resolve(check_port=not _stores and not has_process_group()))
    refresh_ultralytics_rank_constants()
    rank, local_rank = integer(os.environ, "RANK"), integer(os.environ, "LOCAL_RANK")
    _check_release()
    if device is None:
        device = first_devices(integer(os.environ, "LOCAL_WORLD_SIZE"))
    _check_output_device(config, device, device_names(device), trainer)
    watch_rendezvous()
    is_group_created = _init_process_group(config, get_own_device(device, local_rank))
    result = model.train(trainer=_with_mixin(model, trainer, config), device=device, **train_arguments)
    if is_group_created:
        import torch.distributed as dist

        dist.destroy_process_group()
    return result if rank == 0 else None


# Helpers
def _launch(model: Any, config: ParallelConfig, trainer: type | None, device: Any, arguments: dict[str, Any]) -> Any:
    from ultralytics.utils import dist

    check_launch(config, device, trainer)
    device = _devices_asked_for(config, device)
    if device is not None:
        arguments = {**arguments, "device": device}
    if len(device_names(device)) < 2:  # noqa: PLR2004  # one process needs no launch
        return model.train(trainer=trainer, **arguments)
    port = int(config.resolve()["MASTER_PORT"])
    write_file = dist.generate_ddp_file
    if _ultralytics_version() >= MIN_VERSION_PICKLED_TRAINER:
        trainer = _with_mixin(model, trainer, config)
    else:  # workers import the trainer class by its name
        write_file = functools.partial(_write_start_file, write_file, _worker_settings(config))
    with (
        patched_attribute(dist, "find_free_network_port", lambda: port),
        patched_attribute(dist, "generate_ddp_file", write_file),
    ):
        return model.train(trainer=trainer, **arguments)


def _worker_settings(config: ParallelConfig) -> dict[str, Any]:
    return {name: value for name in WORKER_SETTINGS if (value := getattr(config, name)) is not None}


def _write_start_file(write_file: Callable[[Any], str], settings: dict[str, Any], trainer: Any) -> str:
    """Write the start file of the workers, whose trainer gets the settings."""
    file = write_file(trainer)
    if settings:
        name = type(trainer).__name__
        text = Path(file).read_text(encoding="utf-8").replace(_START, _START + _LOADER.format(path=sys.path), 1)
        text = text.replace(f"trainer = {name}(", f"trainer = with_settings({name}, {settings!r})(", 1)
        Path(file).write_text(text, encoding="utf-8")
    return file


def with_settings(trainer: type, settings: dict[str, Any]) -> type:
    """Return a trainer class that applies settings of ``parallel``, by name."""
    return _with_mixin(None, trainer, ParallelConfig(**settings))


def check_launch(config: ParallelConfig, device: Any, trainer: type | None) -> None:
    """Check devices and settings before a training or a launch. ``trainer`` is None for Ultralytics' own.

    Raises:
        ConfigurationError: The settings contradict each other or this machine, or the port is in use.
    """
    world_size, names = config.world_size, device_names(_devices_asked_for(config, device))
    if world_size is not None and world_size != max(len(names), 1):
        means = f"{len(names)} processes" if len(names) > 1 else "one process"
        msg = (
            f"parallel.world_size={world_size} contradicts device={device!r}, which means {means}; name as many "
            f"devices, leave one of the two out, or start the processes of several nodes with torchrun or srun"
        )
        raise ConfigurationError(msg)
    _check_output_device(config, device, names, trainer)
    if len(names) < 2:  # noqa: PLR2004  # one process needs no launch
        return
    config.resolve()


def _devices_asked_for(config: ParallelConfig, device: Any) -> Any:
    """Return a launch's devices in Ultralytics' notation; None for Ultralytics' choice."""
    several = device is None and config.world_size is not None and config.world_size > 1
    return first_devices(config.world_size or 1) if several else device


def _check_output_device(config: ParallelConfig, device: Any, names: list[str], trainer: type | None) -> None:
    """Refuse an output device that does not train on this machine. Without names Ultralytics chooses."""
    import torch

    output_device = config.output_device
    if output_device is None:
        return
    is_on_cpu = str(device) in {"cpu", "mps"} or trains_on_cpu(trainer) or not torch.cuda.is_available()
    local_gpus = names or [str(number) for number in range(torch.cuda.device_count())]
    if is_on_cpu:
        msg = (
            f"parallel.output_device={output_device} is for processes on GPUs, and these are on the CPU, where "
            "PyTorch takes none; leave it out, or make it null"
        )
        raise ConfigurationError(msg)
    if str(output_device) not in local_gpus:
        msg = (
            f"parallel.output_device={output_device} is none of the GPUs that train on this machine "
            f"({', '.join(local_gpus)}); name one of them, or leave it out: each process then uses its own"
        )
        raise ConfigurationError(msg)


def trains_on_cpu(trainer: type | None) -> bool:
    """Return whether a trainer class uses no GPU. The devices then only give the number of processes."""
    return bool(getattr(trainer, "uses_only_the_cpu", False))


def _with_mixin(model: Any, trainer: type | None, config: ParallelConfig) -> type:
    base = trainer or model.task_map[model.task]["trainer"]
    bases = (base,) if issubclass(base, DistributedTrainerMixin) else (DistributedTrainerMixin, base)
    return type(base.__name__, bases, {"parallel": config})


def _init_process_group(config: ParallelConfig, own_device: int | None) -> bool:
    """Join the process group, and return whether this call created it."""
    import torch
    import torch.distributed as dist
    from torch.distributed.rendezvous import rendezvous

    rank, world_size = integer(os.environ, "RANK"), integer(os.environ, "WORLD_SIZE")
    if own_device is not None:
        torch.cuda.set_device(own_device)
    if dist.is_initialized():
        for name, expected, actual in (
            ("parallel.backend", config.backend, dist.get_backend()),
            ("WORLD_SIZE", world_size, dist.get_world_size()),
        ):
            if expected not in {None, actual}:
                msg = f"{name}={expected} contradicts the process group that there is already, where it is {actual}"
                raise ConfigurationError(msg)
        return False
    if own_device is not None:
        os.environ["TORCH_NCCL_BLOCKING_WAIT"] = "1"  # the same as in Ultralytics: a timeout ends a collective
    address = (os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"], str(rank), str(world_size))
    if address not in _stores:
        _stores[address] = next(iter(rendezvous("env://", rank, world_size)))[0]
    _groups.append(f"training-{len(_groups) + 1}")  # a prefix of its own: keys of an earlier group must not be read
    dist.init_process_group(
        config.backend or ("gloo" if own_device is None else "nccl"),
        store=dist.PrefixStore(_groups[-1], _stores[address]),
        rank=rank,
        world_size=world_size,
        timeout=COLLECTIVE_TIMEOUT,
    )
    return True


def _check_release() -> None:
    """Refuse several nodes if Ultralytics uses the rank as device number."""
    if spans_nodes() and _ultralytics_version() < MIN_VERSION_MULTI_NODE:
        import ultralytics

        msg = (
            f"Ultralytics {ultralytics.__version__} cannot train on several nodes, as here "
            f"(WORLD_SIZE={os.environ['WORLD_SIZE']}, LOCAL_WORLD_SIZE={os.environ['LOCAL_WORLD_SIZE']}); "
            f"install 8.4.90 or newer"
        )
        raise ConfigurationError(msg)


def _ultralytics_version() -> tuple[int, ...]:
    import ultralytics

    return version_of(ultralytics.__version__)
