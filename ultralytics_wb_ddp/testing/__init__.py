"""Test multi-GPU logging without a GPU.

The helpers are trainers that launch on the CPU, generated images, and a reader of W&B's run files. Each is imported on
first use, so that reading a run file imports neither torch nor Ultralytics.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ultralytics_wb_ddp.testing.cpu_trainers import (
        CpuDDPClassificationTrainer,
        CpuDDPMixin,
        CpuDDPOBBTrainer,
        CpuDDPPoseTrainer,
        CpuDDPSegmentationTrainer,
        CpuDDPTrainer,
        cpu_settings,
    )
    from ultralytics_wb_ddp.testing.shapes_dataset import make_shapes_dataset
    from ultralytics_wb_ddp.wandb_client.run_file import RecordedArtifact, RecordedRun, find_run_files, read_run

_MODULE_OF = {
    "CpuDDPClassificationTrainer": "testing.cpu_trainers",
    "CpuDDPMixin": "testing.cpu_trainers",
    "CpuDDPOBBTrainer": "testing.cpu_trainers",
    "CpuDDPPoseTrainer": "testing.cpu_trainers",
    "CpuDDPSegmentationTrainer": "testing.cpu_trainers",
    "CpuDDPTrainer": "testing.cpu_trainers",
    "RecordedArtifact": "wandb_client.run_file",
    "RecordedRun": "wandb_client.run_file",
    "cpu_settings": "testing.cpu_trainers",
    "find_run_files": "wandb_client.run_file",
    "make_shapes_dataset": "testing.shapes_dataset",
    "read_run": "wandb_client.run_file",
}

__all__ = [
    "CpuDDPClassificationTrainer",
    "CpuDDPMixin",
    "CpuDDPOBBTrainer",
    "CpuDDPPoseTrainer",
    "CpuDDPSegmentationTrainer",
    "CpuDDPTrainer",
    "RecordedArtifact",
    "RecordedRun",
    "cpu_settings",
    "find_run_files",
    "make_shapes_dataset",
    "read_run",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"ultralytics_wb_ddp.{_MODULE_OF[name]}"), name)
