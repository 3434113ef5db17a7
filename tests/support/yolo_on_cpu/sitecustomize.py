"""Have the ``yolo`` command train on the CPU, in as many processes as ``device`` names.

It works in each Python whose PYTHONPATH has this directory, in every release of Ultralytics.
"""

from __future__ import annotations

import atexit
import os
import sys
from pathlib import Path
from typing import Any

YOLO_MODULE = "ultralytics.models.yolo.model"  # imported when the trainers are
TRAINERS = "ultralytics_wb_ddp.testing.cpu_trainers"


class YoloFinder:
    """Finder that has the import of ``YOLO`` followed by :func:`use_the_cpu`."""

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> Any:
        if name != YOLO_MODULE:
            return None
        sys.meta_path.remove(cls)
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in sys.meta_path)))
        exec_module = spec.loader.exec_module

        def exec_and_replace(module: Any) -> None:
            exec_module(module)
            use_the_cpu()

        spec.loader.exec_module = exec_and_replace
        return spec


def use_the_cpu() -> None:
    if TRAINERS in sys.modules:  # a worker names the class itself
        return
    from ultralytics.models import yolo

    from ultralytics_wb_ddp.testing.cpu_trainers import CpuDDPTrainer

    yolo.detect.DetectionTrainer = CpuDDPTrainer


def note_imports() -> None:
    """Write whether a worker has imported wandb. The processes beside it do not train."""
    if "ultralytics" in sys.modules:
        Path(f"rank-{os.environ['RANK']}-imported-wandb-{'wandb' in sys.modules}").touch()


sys.meta_path.insert(0, YoloFinder)
if "LOCAL_RANK" in os.environ:
    atexit.register(note_imports)
