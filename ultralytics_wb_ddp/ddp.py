"""A training whose processes somebody else has started: torchrun on one or several nodes, srun, spawn."""

from __future__ import annotations

import gc
import hashlib
import os
import sys
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config import ConfigurationError
from ultralytics_wb_ddp.parallel import ParallelConfig
from ultralytics_wb_ddp.slurm import integer
from ultralytics_wb_ddp.versions import version_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DistributedTrainerMixin", "adopt_environment", "train_distributed"]

TIMEOUT = timedelta(hours=3)  # of a collective, as Ultralytics has it
SPANS_NODES = (8, 4, 90)  # from here on the device is that of the local rank
CARRIES_CLASSES = (8, 4, 140)  # from here on a launch takes trainer classes along that are made at run time

_stores: dict[tuple[str, ...], Any] = {}  # where the processes of a job meet: opened once, used by all its trainings
_groups: list[str] = []  # the process groups that this process has joined


def adopt_environment() -> None:
    """Have Ultralytics see RANK, LOCAL_RANK and WORLD_SIZE as they are now; nothing happens where it does.

    Ultralytics reads them when it is imported, which is too early in a child of ``torch.multiprocessing.spawn`` (the
    script is imported before its function sets them) and wherever Slurm's own variables are translated.

    Raises:
        ConfigurationError: One of them is no integer.
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


class DistributedTrainerMixin:
    """What an Ultralytics trainer needs in processes that it has not launched itself; put it before its class.

    The number of processes is that of all nodes, one process group serves all trainings of a job, all ranks use the
    directory that rank 0 chooses, agree on the number of epochs with ``time=``, and take part in the final evaluation
    although their nodes may share no file system.

    Attributes:
        parallel: Backend and ``find_unused_parameters``, if they are not to be Ultralytics' choice.
    """

    parallel = ParallelConfig()

    args: Any
    best: Path
    epochs: int
    last: Path
    model: Any
    _found_world_size = 0
    _made_group = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        from ultralytics.engine import trainer as trainer_module

        choose = trainer_module.get_save_dir

        def agree_on_save_dir(*args: Any, **kwargs: Any) -> Path:
            return Path(_from_rank_0(lambda: str(choose(*args, **kwargs))))

        with _replaced(trainer_module, "get_save_dir", agree_on_save_dir):
            super().__init__(*args, **kwargs)

    @property
    def world_size(self) -> int:
        """Number of processes on all nodes; in a process that launches them, that of the devices."""
        if _is_worker():
            return integer(os.environ, "WORLD_SIZE", 1)
        found: int = getattr(super(), "world_size", self._found_world_size)
        return found

    @world_size.setter
    def world_size(self, value: int) -> None:
        """Keep what Ultralytics finds: the devices of this node."""
        self._found_world_size = value

    @property
    def ddp(self) -> bool:
        """Whether this process launches others instead of training itself."""
        return not _is_worker() and self.world_size > 1

    @ddp.setter
    def ddp(self, value: bool) -> None:
        """Ignore what Ultralytics finds: it looks at the devices of this node."""

    def train(self) -> None:
        """Train, and leave the process group in step with the other ranks."""
        import torch.distributed as dist

        with _replaced(dist, "destroy_process_group", _do_nothing):  # whoever made it ends it
            super().train()  # type: ignore[misc]  # the trainer's
        if dist.is_initialized():  # a rank that exits while another still uses the group aborts it
            self.model = getattr(self.model, "module", self.model)
            gc.collect()
            dist.barrier()
            if self._made_group:
                dist.destroy_process_group()

    def final_eval(self) -> None:
        """Evaluate the best checkpoint in all ranks, also where rank 0's files cannot be seen."""
        if self.world_size > 1:
            for file in (self.best, self.last):
                _share(file)
        super().final_eval()  # type: ignore[misc]  # the trainer's

    def _do_train(self, *world_size: int) -> Any:
        return super()._do_train(*(self.world_size for _ in world_size))  # type: ignore[misc]  # an argument until 8.3.199

    def _setup_ddp(self, *world_size: int) -> None:
        import torch.distributed as dist

        make = dist.init_process_group
        self._made_group = not dist.is_initialized()

        def make_as_asked(backend: str | None = None, **kwargs: Any) -> None:
            make(self.parallel.backend or backend, **kwargs)

        with _replaced(dist, "init_process_group", make_as_asked if self._made_group else _do_nothing):
            super()._setup_ddp(*world_size)  # type: ignore[misc]  # the trainer's

    def _setup_train(self, *world_size: int) -> None:
        from torch.nn.parallel import DistributedDataParallel

        wanted = self.parallel.find_unused_parameters
        wrap = DistributedDataParallel.__init__

        def wrap_as_asked(module: Any, *args: Any, **kwargs: Any) -> None:
            wrap(module, *args, **(kwargs if wanted is None else {**kwargs, "find_unused_parameters": wanted}))

        with _replaced(DistributedDataParallel, "__init__", wrap_as_asked):
            super()._setup_train(*world_size)  # type: ignore[misc]  # the trainer's

    def _get_warmup_iterations(self, *args: Any) -> int:
        self._agree_on_epochs()
        iterations: int = super()._get_warmup_iterations(*args)  # type: ignore[misc]  # the trainer's
        return iterations

    def _setup_scheduler(self) -> None:
        self._agree_on_epochs()
        super()._setup_scheduler()  # type: ignore[misc]  # the trainer's

    def _agree_on_epochs(self) -> None:
        """Take rank 0's estimate of the epochs that fit into ``time=``; each rank makes one from its own clock."""
        if self.args.time and self.world_size > 1 and getattr(self, "epoch_time", None) is not None:
            self.epochs = self.args.epochs = _from_rank_0(lambda: self.epochs)


def train_distributed(
    model: Any, *, parallel: Any = None, trainer: type | None = None, device: Any = None, **train_arguments: Any
) -> Any:
    """Train a model in several processes, on any number of nodes, whoever has started them.

    In a process of torchrun, srun, ``torch.multiprocessing.spawn`` or one started by hand, this process becomes one
    rank of the training. Anywhere else it launches the others on this machine, as ``model.train`` does.

    Args:
        model: An ``ultralytics.YOLO`` or another Ultralytics model.
        parallel: A :class:`ParallelConfig`, or a config with a section ``parallel``.
        trainer: Trainer class, as for ``model.train``.
        device: The devices of this node, one for each of its processes; by default the first ones.
        **train_arguments: As for ``model.train``.

    Returns:
        What ``model.train`` returns; None in all ranks but 0.

    Raises:
        ConfigurationError: Settings, environment and devices do not fit together, or the port is in use.
    """
    config = (
        parallel
        if isinstance(parallel, ParallelConfig)
        else ParallelConfig.from_cfg({} if parallel is None else parallel)
    )
    if not config.is_distributed():
        return _launch(model, config, trainer, device, train_arguments)

    os.environ.update(config.resolve(check_port=not _stores))
    adopt_environment()
    rank, local_rank = integer(os.environ, "RANK"), integer(os.environ, "LOCAL_RANK")
    _check_release()
    if device is None:
        device = _first_devices(integer(os.environ, "LOCAL_WORLD_SIZE"))
    made = _join(config, _own_device(device, local_rank))
    result = model.train(trainer=_combined(model, trainer, config), device=device, **train_arguments)
    if made:
        import torch.distributed as dist

        dist.destroy_process_group()
    return result if rank == 0 else None


# Helpers


def _launch(model: Any, config: ParallelConfig, trainer: type | None, device: Any, arguments: dict[str, Any]) -> Any:
    """Train by Ultralytics' own launch, at the port that was asked for."""
    from ultralytics.utils import dist

    wanted = config.world_size
    if device is None and wanted is not None and wanted > 1:
        device = _first_devices(wanted)
    names = _device_names(device)
    if wanted is not None and wanted != max(len(names), 1):
        msg = (
            f"parallel.world_size={wanted} contradicts device={device!r}, which names {len(names)}; name as many "
            f"devices, leave one of the two out, or start the processes of several nodes with torchrun or srun"
        )
        raise ConfigurationError(msg)
    if device is not None:
        arguments = {**arguments, "device": device}
    if len(names) < 2:  # noqa: PLR2004  # one process needs no launch
        return model.train(trainer=trainer, **arguments)
    port = int(config.resolve()["MASTER_PORT"])
    if _ultralytics_version() >= CARRIES_CLASSES:
        trainer = _combined(model, trainer, config)
    elif config.backend is not None or config.find_unused_parameters is not None:
        msg = "parallel.backend and parallel.find_unused_parameters need torchrun, srun or Ultralytics 8.4.140 or newer"
        raise ConfigurationError(msg)
    with _replaced(dist, "find_free_network_port", lambda: port):
        return model.train(trainer=trainer, **arguments)


def _combined(model: Any, trainer: type | None, config: ParallelConfig) -> type:
    """Return the trainer's class with what several processes need."""
    base = trainer or model._smart_load("trainer")  # noqa: SLF001  # as model.train finds it
    bases = (base,) if issubclass(base, DistributedTrainerMixin) else (DistributedTrainerMixin, base)
    return type(base.__name__, bases, {"parallel": config})


def _join(config: ParallelConfig, own_device: int | None) -> bool:
    """Make this process one of the process group; returns whether there was none yet."""
    import torch
    import torch.distributed as dist
    from torch.distributed.rendezvous import rendezvous

    rank, world_size = integer(os.environ, "RANK"), integer(os.environ, "WORLD_SIZE")
    if own_device is not None:
        torch.cuda.set_device(own_device)
    if dist.is_initialized():
        for name, wanted, found in (
            ("parallel.backend", config.backend, dist.get_backend()),
            ("WORLD_SIZE", world_size, dist.get_world_size()),
        ):
            if wanted not in {None, found}:
                msg = f"{name}={wanted} contradicts the process group that there is already, where it is {found}"
                raise ConfigurationError(msg)
        return False
    if own_device is not None:
        os.environ["TORCH_NCCL_BLOCKING_WAIT"] = "1"  # as Ultralytics has it: a timeout ends a collective
    place = (os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"], str(rank), str(world_size))
    if place not in _stores:
        _stores[place] = next(iter(rendezvous("env://", rank, world_size)))[0]
    _groups.append(
        f"training-{len(_groups) + 1}"
    )  # addresses of an earlier group must not be taken for those of this one
    dist.init_process_group(
        config.backend or ("gloo" if own_device is None else "nccl"),
        store=dist.PrefixStore(_groups[-1], _stores[place]),
        rank=rank,
        world_size=world_size,
        timeout=TIMEOUT,
    )
    return True


def _share(file: Path) -> None:
    """Have a file of rank 0's on all nodes: the first process of each that lacks it, or has another, writes it."""
    import torch.distributed as dist

    is_leader = integer(os.environ, "LOCAL_RANK", 0) == 0
    mine = hashlib.sha256(file.read_bytes()).hexdigest() if is_leader and file.exists() else None
    found: list[tuple[bool, str | None]] = [(False, None)] * dist.get_world_size()
    dist.all_gather_object(found, (is_leader, mine))
    wanted = found[0][1]
    if wanted is None or all(digest == wanted for leads, digest in found if leads):
        return  # all ranks come to the same conclusion
    content: bytes = _from_rank_0(file.read_bytes)
    if is_leader and mine != wanted:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{file.name}.{os.getpid()}")
        part.write_bytes(content)
        part.replace(file)
    dist.barrier()


def _from_rank_0(get: Any) -> Any:
    """Return to all ranks what rank 0 gets; without a process group, what this process gets."""
    import torch.distributed as dist

    if not dist.is_initialized():
        return get()
    box = [get() if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def _check_release() -> None:
    """Refuse several nodes where Ultralytics would take the rank for the number of the device."""
    local_world_size, world_size = integer(os.environ, "LOCAL_WORLD_SIZE"), integer(os.environ, "WORLD_SIZE")
    if local_world_size < world_size and _ultralytics_version() < SPANS_NODES:
        import ultralytics

        msg = (
            f"Ultralytics {ultralytics.__version__} cannot train on several nodes, as here (WORLD_SIZE={world_size}, "
            f"LOCAL_WORLD_SIZE={local_world_size}); install 8.4.90 or newer"
        )
        raise ConfigurationError(msg)


def _first_devices(count: int) -> str:
    """Return the first devices of this node, as many as it has processes: ``"0,1"``."""
    import torch

    seen = torch.cuda.device_count()
    if torch.cuda.is_available() and seen < count:
        msg = (
            f"this process sees {seen} GPUs and its node has {count} processes; start fewer of them, or let each see "
            f"all GPUs of its node (srun --gpus-per-node instead of --gpus-per-task, CUDA_VISIBLE_DEVICES)"
        )
        raise ConfigurationError(msg)
    return ",".join(str(number) for number in range(count))


def _own_device(device: Any, local_rank: int) -> int | None:
    """Return the number of this process's GPU; None without GPUs."""
    import torch

    names = _device_names(device)
    if len(names) <= local_rank and names:
        msg = f"device={device!r} has none for LOCAL_RANK={local_rank}; name one for each process of the node"
        raise ConfigurationError(msg)
    is_gpu = torch.cuda.is_available() and bool(names) and names[local_rank].isdigit()
    return int(names[local_rank]) if is_gpu else None


def _device_names(device: Any) -> list[str]:
    """Return the devices in Ultralytics' notation one by one; none for the CPU and for Ultralytics' own choice."""
    names = (
        device if isinstance(device, (list, tuple)) else str("" if device is None else device).strip("[]()").split(",")
    )
    plain = [str(name).strip().removeprefix("cuda:") for name in names]
    return [name for name in plain if name not in {"", "cpu", "mps", "None"}]


def _ultralytics_version() -> tuple[int, ...]:
    import ultralytics

    return version_of(ultralytics.__version__)


def _is_worker() -> bool:
    return integer(os.environ, "RANK", -1) >= 0


def _do_nothing(*_: Any, **__: Any) -> None:
    """Leave a process group as it is."""


@contextmanager
def _replaced(owner: Any, name: str, replacement: Any) -> Iterator[None]:
    """Put something in the place of an attribute for a while."""
    original = getattr(owner, name)
    setattr(owner, name, replacement)
    try:
        yield
    finally:
        setattr(owner, name, original)
