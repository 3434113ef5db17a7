"""What a checkpoint says of itself, also one of a release or a project whose classes are not there."""

from __future__ import annotations

import math
import pathlib
import pickle
import zipfile
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.artifacts.checkpoint_metadata import Progress
from ultralytics_wb_ddp.utils.serialization import redact, to_plain

if TYPE_CHECKING:
    from pathlib import Path


STRIPPED = -1  # the epoch in a checkpoint of a training that was over
# Models, losses and settings: of the releases before 8.0.136 they lie in ultralytics.yolo, of YOLOv5 to YOLOv7 in
# models and utils, which may be something else here. Nothing of them is asked for.
MODEL_PACKAGES = frozenset({"ultralytics", "yolov5", "models", "utils", "__main__"})
OTHER_SYSTEM = {"WindowsPath": pathlib.PureWindowsPath, "PosixPath": pathlib.PurePosixPath}


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says of itself.

    Attributes:
        is_stripped: Whether the training was over: Ultralytics takes the optimizer out at its end.
        fitness: Fitness of its epoch.
        metrics: Metrics of its epoch.
        arguments: Arguments of the training, without secrets, with what ``optimizer=auto`` in ``args.yaml`` came to be.
    """

    is_stripped: bool
    fitness: float | None
    metrics: dict[str, float]
    arguments: dict[str, Any]

    @classmethod
    def read(cls, file: Path) -> Checkpoint:
        """Read a checkpoint, which is a pickle, without its model.

        Raises:
            ValueError: It is no complete checkpoint.
            Exception: Of any kind, where it is damaged.
        """
        if not zipfile.is_zipfile(file):  # its table of contents is written last
            msg = f"{file.name} is no complete checkpoint ({file.stat().st_size} bytes)"
            raise ValueError(msg)
        import torch

        reader = SimpleNamespace(Unpickler=_Unpickler, load=pickle.load, __name__=__name__)
        content = torch.load(file, map_location="cpu", weights_only=False, pickle_module=reader)
        if not isinstance(content, dict):
            msg = f"{file.name} holds no checkpoint but {type(content).__name__}"
            raise ValueError(msg)  # noqa: TRY004  # the file is wrong, not the program
        metrics = _numbers(content.get("train_metrics"))
        arguments = content.get("train_args") or content.get("opt")  # YOLOv5 has options
        plain = to_plain(arguments)
        return cls(
            not content.get("optimizer"),
            metrics.pop("fitness", None),
            metrics,
            redact(plain) if isinstance(plain, dict) else {},
        )


def is_stripped(file: Path) -> bool | None:
    """Return whether the training of a checkpoint was over, without unpickling it; None where it does not say."""
    progress = Progress.read(file)
    return None if progress is None else progress.epoch == STRIPPED


def _numbers(metrics: Any) -> dict[str, float]:
    found = {}
    for name, value in metrics.items() if isinstance(metrics, dict) else ():
        try:
            found[str(name)] = float(value)
        except (TypeError, ValueError):  # noqa: PERF203  # of a class that is not there
            continue
    return {name: value for name, value in found.items() if math.isfinite(value)}


class _UnknownMeta(type):
    """Makes classes whose attributes are what they are: unknown."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return cls


class _Placeholder(metaclass=_UnknownMeta):
    """Stands for an object whose class is not there or is not asked for."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def __call__(self, *_: Any, **__: Any) -> Any:
        return self

    def append(self, value: Any) -> None: ...

    def extend(self, values: Any) -> None: ...

    def add(self, value: Any) -> None: ...

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class _Unpickler(pickle.Unpickler):
    """Reads a checkpoint with a stand-in for every class that is not there."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".", 1)[0] in MODEL_PACKAGES:
            return SimpleNamespace if name.endswith("SimpleNamespace") else _UnknownMeta(name, (_Placeholder,), {})
        if module.startswith("pathlib") and name in OTHER_SYSTEM:
            return OTHER_SYSTEM[name]
        try:
            return super().find_class(module, name)
        except Exception:  # noqa: BLE001  # what is imported for it fails in any way
            return _UnknownMeta(name.rpartition(".")[2], (_Placeholder,), {})
