"""What an Ultralytics trainer needs in processes that it has not launched itself."""

from __future__ import annotations

import gc
import hashlib
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.distributed.parallel_config import ParallelConfig
from ultralytics_wb_ddp.distributed.slurm import integer

if TYPE_CHECKING:
    from collections.abc import Iterator


class DistributedTrainerMixin:
    """What an Ultralytics trainer needs in processes that it has not launched itself; put it before its class.

    The number of processes is that of all nodes, one process group serves all trainings of a job, all ranks use the
    directory that rank 0 chooses, agree on the number of epochs with ``time=``, and take part in the final evaluation
    although their nodes may share no file system.

    Attributes:
        parallel: Backend, ``output_device`` and ``find_unused_parameters``, if they are not to be Ultralytics' choice.
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
            return Path(_broadcast_from_rank_0(lambda: str(choose(*args, **kwargs))))

        with patched_attribute(trainer_module, "get_save_dir", agree_on_save_dir):
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

        with patched_attribute(dist, "destroy_process_group", _do_nothing):  # whoever made it ends it
            super().train()  # type: ignore[misc]  # the trainer's
        if dist.is_initialized():  # a rank that exits while another still uses the group aborts it
            self.model = getattr(self.model, "module", self.model)
            gc.collect()
            dist.barrier()
            if self._made_group:
                dist.destroy_process_group()

    def final_eval(self) -> None:
        """Evaluate the best checkpoint in all ranks, also where rank 0's files cannot be seen."""
        if spans_nodes():  # on one node there is nothing to copy, and before 8.3.218 rank 0 evaluates alone
            for file in (self.best, self.last):
                _broadcast_file(file)
        super().final_eval()  # type: ignore[misc]  # the trainer's

    def _do_train(self, *world_size: int) -> Any:
        return super()._do_train(*(self.world_size for _ in world_size))  # type: ignore[misc]  # an argument until 8.3.199

    def _setup_ddp(self, *world_size: int) -> None:
        import torch.distributed as dist

        make = dist.init_process_group
        self._made_group = not dist.is_initialized()

        def make_as_asked(backend: str | None = None, **kwargs: Any) -> None:
            make(self.parallel.backend or backend, **kwargs)

        with patched_attribute(dist, "init_process_group", make_as_asked if self._made_group else _do_nothing):
            super()._setup_ddp(*world_size)  # type: ignore[misc]  # the trainer's

    def _setup_train(self, *world_size: int) -> None:
        from torch.nn.parallel import DistributedDataParallel

        names = ("find_unused_parameters", "output_device")
        wanted = {name: value for name in names if (value := getattr(self.parallel, name)) is not None}
        wrap = DistributedDataParallel.__init__

        def wrap_as_asked(module: Any, *args: Any, **kwargs: Any) -> None:
            asked = dict(wanted)
            if "output_device" in asked:
                own = next(iter(kwargs.get("device_ids") or ()), None)
                asked["output_device"] = number_here(asked["output_device"], device_names(self.args.device), own)
            wrap(module, *args, **{**kwargs, **asked})

        with patched_attribute(DistributedDataParallel, "__init__", wrap_as_asked):
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
            self.epochs = self.args.epochs = _broadcast_from_rank_0(lambda: self.epochs)


def device_names(device: Any) -> list[str]:
    """Return the devices in Ultralytics' notation one by one; none for the CPU and for Ultralytics' own choice."""
    names = (
        device if isinstance(device, (list, tuple)) else str("" if device is None else device).strip("[]()").split(",")
    )
    plain = [str(name).strip().removeprefix("cuda:") for name in names]
    return [name for name in plain if name not in {"", "cpu", "mps", "None"}]


def number_here(device: int, names: list[str], own: int | None) -> int:
    """Return the number of a GPU as a worker counts: in older releases it sees those of the training only, from 0.

    Args:
        device: Number of the GPU as the user has given it.
        names: The devices of this machine that train.
        own: Number of the worker's own GPU as it counts.
    """
    local_rank = integer(os.environ, "LOCAL_RANK", 0)
    is_as_given = own is None or local_rank >= len(names) or str(own) == names[local_rank]
    return device if is_as_given or str(device) not in names else names.index(str(device))


def _broadcast_file(file: Path) -> None:
    """Have a file of rank 0's on all nodes: the first process of each that lacks it, or has another, writes it."""
    import torch.distributed as dist

    is_leader = integer(os.environ, "LOCAL_RANK", 0) == 0
    mine = hashlib.sha256(file.read_bytes()).hexdigest() if is_leader and file.exists() else None
    found: list[tuple[bool, str | None]] = [(False, None)] * dist.get_world_size()
    dist.all_gather_object(found, (is_leader, mine))
    wanted = found[0][1]
    if wanted is None or all(digest == wanted for leads, digest in found if leads):
        return  # all ranks come to the same conclusion
    content: bytes = _broadcast_from_rank_0(file.read_bytes)
    if is_leader and mine != wanted:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{file.name}.rank{dist.get_rank()}")
        part.write_bytes(content)
        part.replace(file)
    dist.barrier()


def _broadcast_from_rank_0(get: Any) -> Any:
    """Return to all ranks what rank 0 gets; without a process group, what this process gets."""
    import torch.distributed as dist

    if not dist.is_initialized():
        return get()
    box = [get() if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def spans_nodes() -> bool:
    """Return whether the processes of this training are on several nodes."""
    world_size = integer(os.environ, "WORLD_SIZE", 1)
    return integer(os.environ, "LOCAL_WORLD_SIZE", world_size) < world_size


def _is_worker() -> bool:
    return integer(os.environ, "RANK", -1) >= 0


def _do_nothing(*_: Any, **__: Any) -> None:
    """Leave a process group as it is."""


@contextmanager
def patched_attribute(owner: Any, name: str, replacement: Any) -> Iterator[None]:
    """Put something in the place of an attribute for a while."""
    original = getattr(owner, name)
    setattr(owner, name, replacement)
    try:
        yield
    finally:
        setattr(owner, name, original)
