"""Train in several processes on the CPU, with gloo and no GPU.

The launch is Ultralytics' own: ``model.train(trainer=CpuDDPTrainer, device="0,1")`` starts ``torch.distributed.run``
with one worker for each name in ``device``. Only functions that need an accelerator are replaced, in the processes of
this training and while it runs: the choice of the device, the backend of the process group, ``device_ids``. A launcher
computes nothing and sets no seeds.
"""

from __future__ import annotations

import gc
import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from ultralytics.engine import trainer as trainer_module
from ultralytics.engine import validator as validator_module
from ultralytics.models.yolo.classify import ClassificationTrainer
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.models.yolo.obb import OBBTrainer
from ultralytics.models.yolo.pose import PoseTrainer
from ultralytics.models.yolo.segment import SegmentationTrainer
from ultralytics.utils import DEFAULT_CFG

from ultralytics_wb_ddp.config.devices import parse_devices
from ultralytics_wb_ddp.testing.shapes_dataset import make_shapes_dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


CPU = torch.device("cpu")


class CpuDDPMixin:
    """A mixin that makes any Ultralytics trainer train in several CPU processes.

    ``class CpuDDPRTDETRTrainer(CpuDDPMixin, RTDETRTrainer)``, in a module that the workers can import.

    Args:
        cfg: Default arguments. ``model.train`` passes all three, as to any trainer of Ultralytics.
        overrides: Arguments of the training.
        _callbacks: Callbacks by event.
    """

    uses_only_the_cpu = True  # the checks then do not look for the GPUs that ``device`` names

    args: Any
    model: Any
    _requested_device = ""

    def __init__(self, cfg: Any = DEFAULT_CFG, overrides: Any = None, _callbacks: Any = None) -> None:
        with _only_the_cpu(self):
            super().__init__(cfg, overrides, _callbacks)  # type: ignore[call-arg]
        self.args.device = self._requested_device  # some releases overwrite it with the device that they chose

    def check_resume(self, overrides: Any) -> None:
        """Store the requested devices; a resumed training does not know them earlier."""
        super().check_resume(overrides)  # type: ignore[misc]
        self._requested_device = ",".join(parse_devices(self.args.device))

    @property
    def world_size(self) -> int:
        """Number of processes, one for each name in ``device``; 0 for ``"cpu"``."""
        return 0 if self._requested_device in {"", "cpu", "None"} else len(self._requested_device.split(","))

    @world_size.setter
    def world_size(self, value: int) -> None:
        """Ignore the value that Ultralytics sets: it sees no accelerator."""

    @property
    def ddp(self) -> bool:
        """Whether this process launches workers instead of training itself."""
        return self.world_size > 1 and "LOCAL_RANK" not in os.environ

    @ddp.setter
    def ddp(self, value: bool) -> None:
        """Ignore the value that Ultralytics sets: it sees no accelerator."""

    def _setup_ddp(self, *_: Any) -> None:
        self.device = CPU
        dist.init_process_group("gloo", rank=int(os.environ["RANK"]), world_size=int(os.environ["WORLD_SIZE"]))

    def train(self) -> None:
        """Train, then leave the process group in step with the other ranks."""
        with _only_the_cpu(self):
            super().train()  # type: ignore[misc]
        if dist.is_initialized():  # a rank that exits while another still uses the group aborts it
            self.model = getattr(self.model, "module", self.model)
            gc.collect()
            dist.barrier()
            dist.destroy_process_group()


class CpuDDPTrainer(CpuDDPMixin, DetectionTrainer):
    """Detection in several CPU processes: ``model.train(trainer=CpuDDPTrainer, device="0,1")`` starts two."""


class CpuDDPSegmentationTrainer(CpuDDPMixin, SegmentationTrainer):
    """Segmentation in several CPU processes."""


class CpuDDPPoseTrainer(CpuDDPMixin, PoseTrainer):
    """Pose estimation in several CPU processes."""


class CpuDDPOBBTrainer(CpuDDPMixin, OBBTrainer):
    """Detection of oriented boxes in several CPU processes."""


class CpuDDPClassificationTrainer(CpuDDPMixin, ClassificationTrainer):
    """Classification in several CPU processes."""


def cpu_settings(device: str | None = "0,1") -> dict[str, Any]:
    """Return arguments of ``model.train`` for a detector that trains within seconds.

    The training has two epochs of 16 generated images of 64 pixels. This function writes the images to ``shapes`` in
    the working directory.

    Args:
        device: A name for each process, or ``"cpu"`` for this process alone. None leaves the argument out, for
            processes that another launcher has started.

    Returns:
        ``data``, ``epochs``, ``imgsz``, ``batch``, ``workers``, ``trainer`` and ``device``, as keyword arguments.
    """
    data = make_shapes_dataset("shapes", images=16, classes=2)
    arguments = {"data": str(data), "epochs": 2, "imgsz": 64, "batch": 8, "workers": 0, "trainer": CpuDDPTrainer}
    return arguments if device is None else {**arguments, "device": device}


def _unless_launching(trainer: CpuDDPMixin, name: str) -> Callable[..., Any]:
    """Return a trainer function that does nothing in a launcher.

    The seeding functions make torch import its compiler. The import takes two seconds, and a launcher computes nothing.
    """
    function = getattr(trainer_module, name, None)
    return lambda *args, **kwargs: None if trainer.ddp or not function else function(*args, **kwargs)


@contextmanager
def _only_the_cpu(trainer: CpuDDPMixin) -> Iterator[None]:
    """Make Ultralytics choose the CPU, in any release since 8.3.0."""

    def choose_cpu(*_: Any, **__: Any) -> torch.device:
        return CPU

    auto_backend = validator_module.AutoBackend
    ddp_init, broadcast, barrier = DistributedDataParallel.__init__, dist.broadcast, dist.barrier

    def auto_backend_on_cpu(*args: Any, **kwargs: Any) -> Any:
        return auto_backend(*args, **{**kwargs, "device": CPU})

    def ddp_without_devices(self: Any, module: Any, **kwargs: Any) -> None:
        ddp_init(self, module, **{**kwargs, "device_ids": None})

    def broadcast_as_integer(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if tensor.dtype is not torch.bool:  # gloo cannot send booleans
            return broadcast(tensor, *args, **kwargs)
        number = tensor.int()
        broadcast(number, *args, **kwargs)
        tensor.copy_(number.bool())
        return None

    def barrier_without_devices(*_: Any, **__: Any) -> Any:
        return barrier()

    class NoAccelerator:
        current_device = staticmethod(lambda: 0)

    replacements: list[tuple[Any, str, Callable[..., Any]]] = [
        (trainer_module, "select_device", choose_cpu),
        (trainer_module, "init_seeds", _unless_launching(trainer, "init_seeds")),
        (trainer_module, "unset_deterministic", _unless_launching(trainer, "unset_deterministic")),
        (validator_module, "select_device", choose_cpu),
        (validator_module, "AutoBackend", auto_backend_on_cpu),
        (validator_module, "get_torch_device_backend", lambda *_: NoAccelerator),
        (torch.cuda, "current_device", NoAccelerator.current_device),
        (DistributedDataParallel, "__init__", ddp_without_devices),
        (dist, "broadcast", broadcast_as_integer),
        (dist, "barrier", barrier_without_devices),
    ]
    if not hasattr(np, "trapz"):  # releases before 8.3.150 call a function that NumPy 2.4 removed
        np.trapz = np.trapezoid  # type: ignore[attr-defined]  # noqa: NPY201  # the name that they call
    with ExitStack() as stack:
        for owner, name, replacement in replacements:
            if hasattr(owner, name):
                stack.callback(setattr, owner, name, getattr(owner, name))
                setattr(owner, name, replacement)
        yield
