"""One W&B run for one Ultralytics training, no matter how many processes.

Public names are loaded on first use. Importing the package imports neither torch nor wandb, so a process that does not
log pays nothing for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ultralytics_wb_ddp.artifacts.s3_upload import upload_to_s3
    from ultralytics_wb_ddp.artifacts.training_state import TrainingState
    from ultralytics_wb_ddp.callback import WandbCallback, add_wandb_callback, callbacks
    from ultralytics_wb_ddp.config.options import RankScope, RunMode, WandbConfig
    from ultralytics_wb_ddp.config.s3_path import S3Error
    from ultralytics_wb_ddp.config.scope import wandb_config
    from ultralytics_wb_ddp.config.validation import ConfigurationError
    from ultralytics_wb_ddp.cross_validation.folds import kfold
    from ultralytics_wb_ddp.cross_validation.results import Statistics
    from ultralytics_wb_ddp.cross_validation.run_group import RunGroup
    from ultralytics_wb_ddp.distributed.parallel_config import ParallelConfig
    from ultralytics_wb_ddp.distributed.topology import (
        RankPlan,
        Topology,
        get_distributed_info,
        is_main_process,
        plan_rank,
    )
    from ultralytics_wb_ddp.distributed.train import train_distributed
    from ultralytics_wb_ddp.instrumentation.autolog import autolog
    from ultralytics_wb_ddp.jobs.run_job import JobResult, run_job
    from ultralytics_wb_ddp.manager import WandbManager
    from ultralytics_wb_ddp.program import wandb_init
    from ultralytics_wb_ddp.runs.guarded_run import get_wandb_run
    from ultralytics_wb_ddp.runs.links import Links
    from ultralytics_wb_ddp.runs.trial_env import get_wandb_sweep_id
    from ultralytics_wb_ddp.sweeps.agents import SweepError
    from ultralytics_wb_ddp.sweeps.run_sweep import run_sweep
    from ultralytics_wb_ddp.sweeps.sweep_api import Sweep
    from ultralytics_wb_ddp.tools.restore import RestoreError, restore_checkpoint

__version__ = "0.1.0"

_MODULE_OF = {
    "ConfigurationError": "config.validation",
    "JobResult": "jobs.run_job",
    "Links": "runs.links",
    "RunGroup": "cross_validation.run_group",
    "Statistics": "cross_validation.results",
    "RankPlan": "distributed.topology",
    "RankScope": "config.options",
    "RestoreError": "tools.restore",
    "S3Error": "config.s3_path",
    "ParallelConfig": "distributed.parallel_config",
    "RunMode": "config.options",
    "Sweep": "sweeps.sweep_api",
    "SweepError": "sweeps.agents",
    "Topology": "distributed.topology",
    "TrainingState": "artifacts.training_state",
    "WandbCallback": "callback",
    "WandbConfig": "config.options",
    "WandbManager": "manager",
    "add_wandb_callback": "callback",
    "autolog": "instrumentation.autolog",
    "callbacks": "callback",
    "get_distributed_info": "distributed.topology",
    "get_wandb_run": "runs.guarded_run",
    "get_wandb_sweep_id": "runs.trial_env",
    "is_main_process": "distributed.topology",
    "kfold": "cross_validation.folds",
    "restore_checkpoint": "tools.restore",
    "plan_rank": "distributed.topology",
    "run_job": "jobs.run_job",
    "run_sweep": "sweeps.run_sweep",
    "train_distributed": "distributed.train",
    "upload_to_s3": "artifacts.s3_upload",
    "wandb_config": "config.scope",
    "wandb_init": "program",
}

__all__ = [
    "ConfigurationError",
    "JobResult",
    "Links",
    "ParallelConfig",
    "RankPlan",
    "RankScope",
    "RestoreError",
    "RunGroup",
    "RunMode",
    "S3Error",
    "Statistics",
    "Sweep",
    "SweepError",
    "Topology",
    "TrainingState",
    "WandbCallback",
    "WandbConfig",
    "WandbManager",
    "__version__",
    "add_wandb_callback",
    "autolog",
    "callbacks",
    "get_distributed_info",
    "get_wandb_run",
    "get_wandb_sweep_id",
    "is_main_process",
    "kfold",
    "plan_rank",
    "restore_checkpoint",
    "run_job",
    "run_sweep",
    "train_distributed",
    "upload_to_s3",
    "wandb_config",
    "wandb_init",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
