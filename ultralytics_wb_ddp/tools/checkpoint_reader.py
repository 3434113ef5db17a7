"""Read a checkpoint's metadata, also if classes of its release are missing."""

from __future__ import annotations

import math
import pathlib
import pickle
import zipfile
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.artifacts.checkpoint_metadata import STRIPPED, Progress
from ultralytics_wb_ddp.artifacts.checkpoint_unpickler import placeholder_class
from ultralytics_wb_ddp.utils.serialization import redact, to_plain

if TYPE_CHECKING:
    from pathlib import Path


# Packages of models, losses and settings. Releases before 8.0.136 have them in ultralytics.yolo, YOLOv5 to YOLOv7 in
# models and utils. These names may be other packages here, so they are not imported.
MODEL_PACKAGES = frozenset({"ultralytics", "yolov5", "models", "utils", "__main__"})
OTHER_SYSTEM = {"WindowsPath": pathlib.PureWindowsPath, "PosixPath": pathlib.PurePosixPath}


@dataclass(frozen=True)
class Checkpoint:
    """Metadata of a checkpoint.

    Attributes:
        is_stripped: Whether the training completed. Ultralytics then removes the optimizer.
        arguments: Arguments of the training, without secrets. They name the optimizer that ``optimizer=auto`` in
            ``args.yaml`` selected.
    """

    is_stripped: bool
    fitness: float | None
    metrics: dict[str, float]
    arguments: dict[str, Any]

    @classmethod
    def read(cls, file: Path) -> Checkpoint:
        """Read a pickled checkpoint without its model.

        Raises:
            ValueError: The file is not a complete checkpoint.
            Exception: The file is damaged. Unpickling may raise an exception of any class.
        """
        if not zipfile.is_zipfile(file):  # the table of contents of a zip file is written last
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
    """Return whether a checkpoint's training completed, without unpickling; None if unknown."""
    progress = Progress.read(file)
    return None if progress is None else progress.epoch == STRIPPED


def _numbers(metrics: Any) -> dict[str, float]:
    numbers = {}
    for name, value in metrics.items() if isinstance(metrics, dict) else ():
        try:
            numbers[str(name)] = float(value)
        except (TypeError, ValueError):  # noqa: PERF203  # the class of the value is missing
            continue
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module.split(".", 1)[0] in MODEL_PACKAGES:
            return SimpleNamespace if name.endswith("SimpleNamespace") else placeholder_class(name)
        if module.startswith("pathlib") and name in OTHER_SYSTEM:
            return OTHER_SYSTEM[name]
        try:
            return super().find_class(module, name)
        except Exception:  # noqa: BLE001  # the import of a module fails in any way
            return placeholder_class(name)
