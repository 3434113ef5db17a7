"""The example of a job, in the size of a test."""

from __future__ import annotations

import subprocess
from pathlib import Path

from support.jobs import run_command
from support.paths import EXAMPLES, TINY
from ultralytics_wb_ddp.wandb_client.run_file import RecordedRun, find_run_files, read_run

EXAMPLE = EXAMPLES / "job.yaml"
SMALL = ["wandb.mode=offline", f"model={TINY}", "train.epochs=2", "train.imgsz=64", "train.batch=8", "train.workers=0"]
SMALL += ["train.plots=false", "train.deterministic=false"]
TWO_PROCESSES = ["train.trainer=ultralytics_wb_ddp.testing:CpuDDPTrainer"]  # the example names two devices
ONE_PROCESS = ["train.device=cpu"]


def run_example(
    directory: Path, shapes: Path, *overrides: str, timeout: float = 300, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run the example in a directory, with a dataset and with other values than the file has."""
    places = [f"train.data={shapes}", f"train.project={directory / 'runs'}"]
    return run_command(directory, "train", str(EXAMPLE), *SMALL, *places, *overrides, timeout=timeout, **env)


def runs_below(directory: Path) -> list[RecordedRun]:
    """Return what each session of each run below a directory wrote."""
    return [read_run(file) for file in find_run_files(directory)]
