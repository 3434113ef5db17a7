"""Prepare Ultralytics trainers for processes that Ultralytics has not launched."""

from __future__ import annotations

import gc
import hashlib
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config.devices import parse_devices
from ultralytics_wb_ddp.distributed.parallel_config import ParallelConfig
from ultralytics_wb_ddp.distributed.slurm import integer

if TYPE_CHECKING:
    from collections.abc import Iterator


class DistributedTrainerMixin:
    """A mixin for Ultralytics trainers in processes of torchrun, srun or spawn.

    Put it before the trainer class. The world size is that of all nodes. One process group serves all trainings of a
    job. All ranks use the directory that rank 0 chooses and, with ``time=``, rank 0's number of epochs. All ranks take
    part in the final evaluation, also if their nodes share no file system.

    Attributes:
        parallel: ``backend``, ``output_device`` and ``find_unused_parameters``; Ultralytics chooses those that are
            None.
    """

    parallel = ParallelConfig()

    args: Any
    best: Path
    epochs: int
    last: Path
    model: Any
    _found_world_size = 0
    _created_group = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        from ultralytics.engine import trainer as trainer_module

        choose = trainer_module.get_save_dir

        def agree_on_save_dir(*args: Any, **kwargs: Any) -> Path:
            return Path(_broadcast_from_rank_0(lambda: str(choose(*args, **kwargs))))

        with patched_attribute(trainer_module, "get_save_dir", agree_on_save_dir):
            super().__init__(*args, **kwargs)

    @property
    def world_size(self) -> int:
        """Number of processes on all nodes; in a launcher, of devices."""
        if _is_worker():
            return integer(os.environ, "WORLD_SIZE", 1)
        device_count: int = getattr(super(), "world_size", self._found_world_size)
        return device_count

    @world_size.setter
    def world_size(self, value: int) -> None:
        """Keep Ultralytics' value, the number of this node's devices, for a launcher."""
        self._found_world_size = value

    @property
    def ddp(self) -> bool:
        """Whether this process is a launcher, which does not train."""
        return not _is_worker() and self.world_size > 1

    @ddp.setter
    def ddp(self, value: bool) -> None:
        """Ignore Ultralytics' value: it depends on the devices of this node."""

    def train(self) -> None:
        """Train, then leave the process group together with the other ranks."""
        import torch.distributed as dist

        with patched_attribute(dist, "destroy_process_group", _do_nothing):  # its creator destroys the group
            super().train()  # type: ignore[misc]  # the trainer's
        if dist.is_initialized():  # a rank that exits while another still uses the group aborts it
            self.model = getattr(self.model, "module", self.model)
            gc.collect()
            dist.barrier()
            if self._created_group:
                dist.destroy_process_group()

    def final_eval(self) -> None:
        """Evaluate the best checkpoint in all ranks, even without shared files."""
        if spans_nodes():  # one node needs no copies, and before Ultralytics 8.3.218 rank 0 evaluates alone
            for file in (self.best, self.last):
                _broadcast_file(file)
        super().final_eval()  # type: ignore[misc]  # the trainer's

    def _do_train(self, *world_size: int) -> Any:
        return super()._do_train(*(self.world_size for _ in world_size))  # type: ignore[misc]  # an argument until 8.3.199

    def _setup_ddp(self, *world_size: int) -> None:
        import torch.distributed as dist

        create = dist.init_process_group
        self._created_group = not dist.is_initialized()

        def create_with_backend(backend: str | None = None, **kwargs: Any) -> None:
            create(self.parallel.backend or backend, **kwargs)

        with patched_attribute(dist, "init_process_group", create_with_backend if self._created_group else _do_nothing):
            super()._setup_ddp(*world_size)  # type: ignore[misc]  # the trainer's

    def _setup_train(self, *world_size: int) -> None:
        from torch.nn.parallel import DistributedDataParallel

        names = ("find_unused_parameters", "output_device")
        settings = {name: value for name in names if (value := getattr(self.parallel, name)) is not None}
        wrap = DistributedDataParallel.__init__

        def wrap_with_settings(module: Any, *args: Any, **kwargs: Any) -> None:
            options = dict(settings)
            if "output_device" in options:
                own, names = next(iter(kwargs.get("device_ids") or ()), None), device_names(self.args.device)
                options["output_device"] = local_device_number(options["output_device"], names, own)
            wrap(module, *args, **{**kwargs, **options})

        with patched_attribute(DistributedDataParallel, "__init__", wrap_with_settings):
            super()._setup_train(*world_size)  # type: ignore[misc]  # the trainer's

    def _get_warmup_iterations(self, *args: Any) -> int:
        self._agree_on_epochs()
        iterations: int = super()._get_warmup_iterations(*args)  # type: ignore[misc]  # the trainer's
        return iterations

    def _setup_scheduler(self) -> None:
        self._agree_on_epochs()
        super()._setup_scheduler()  # type: ignore[misc]  # the trainer's

    def _agree_on_epochs(self) -> None:
        """Use rank 0's number of epochs for ``time=``, because clocks of ranks differ."""
        if self.args.time and self.world_size > 1 and getattr(self, "epoch_time", None) is not None:
            self.epochs = self.args.epochs = _broadcast_from_rank_0(lambda: self.epochs)


def device_names(device: Any) -> list[str]:
    """Return the GPUs in a device argument; none for the CPU and for Ultralytics' own choice."""
    return [name for name in parse_devices(device) if name not in {"cpu", "mps", "None"}]


def local_device_number(device: int, names: list[str], own_device: int | None) -> int:
    """Return the number within this worker of a GPU in the user's settings.

    In older releases of Ultralytics a worker sees only the GPUs of the training, ``names``, counted from 0.
    ``own_device`` is the number of the worker's own GPU within this worker.
    """
    local_rank = integer(os.environ, "LOCAL_RANK", 0)
    is_as_given = own_device is None or local_rank >= len(names) or str(own_device) == names[local_rank]
    return device if is_as_given or str(device) not in names else names.index(str(device))


def _broadcast_file(file: Path) -> None:
    """Copy a file of rank 0 to all nodes.

    The first process of each node writes the file if it is missing or differs.
    """
    import torch.distributed as dist

    is_leader = integer(os.environ, "LOCAL_RANK", 0) == 0
    own_digest = hashlib.sha256(file.read_bytes()).hexdigest() if is_leader and file.exists() else None
    digests: list[tuple[bool, str | None]] = [(False, None)] * dist.get_world_size()
    dist.all_gather_object(digests, (is_leader, own_digest))
    expected = digests[0][1]
    if expected is None or all(digest == expected for leads, digest in digests if leads):
        return  # all ranks return here or none does: the digests are the same in all
    content: bytes = _broadcast_from_rank_0(file.read_bytes)
    if is_leader and own_digest != expected:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{file.name}.rank{dist.get_rank()}")
        part.write_bytes(content)
        part.replace(file)
    dist.barrier()


def _broadcast_from_rank_0(get: Any) -> Any:
    """Return in all ranks the value that ``get`` returns in rank 0, or in this process without a process group."""
    import torch.distributed as dist

    if not dist.is_initialized():
        return get()
    box = [get() if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def spans_nodes() -> bool:
    """Return whether this training runs on several nodes."""
    world_size = integer(os.environ, "WORLD_SIZE", 1)
    return integer(os.environ, "LOCAL_WORLD_SIZE", world_size) < world_size


def _is_worker() -> bool:
    return integer(os.environ, "RANK", -1) >= 0


def _do_nothing(*_: Any, **__: Any) -> None:
    """Stand in for a function that creates or destroys a process group."""


@contextmanager
def patched_attribute(owner: Any, name: str, replacement: Any) -> Iterator[None]:
    """Replace an attribute inside a ``with`` block."""
    original = getattr(owner, name)
    setattr(owner, name, replacement)
    try:
        yield
    finally:
        setattr(owner, name, original)
