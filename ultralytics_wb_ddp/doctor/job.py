"""What a job will do, for the doctor's answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.doctor.finding import Request
from ultralytics_wb_ddp.jobs import find_state
from ultralytics_wb_ddp.ranks import Topology

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ultralytics_wb_ddp.job_schema import Job
    from ultralytics_wb_ddp.parallel import ParallelConfig

__all__ = ["devices_of", "facts_of", "request_of"]


def facts_of(job: Job) -> Iterator[tuple[str, str]]:
    """Yield what a job will do, for people: a title and a sentence each."""
    yield "job", f"{job.name} of group {job.group}" if job.group else job.name
    yield "model", f"{job.model} ({job.task})" if job.task else job.model
    if state := find_state(job):
        yield "resumes", f"{state}{': nothing is trained' if state.is_over else ''}"
    yield "data", str(job.train.get("data") or "that of the training which is resumed, or of train.cfg")
    if job.parallel.is_distributed():
        how = "as one rank of those that torchrun or srun has started"
    elif len(devices := devices_of(job.train.get("device"), job.parallel)) > 1:
        how = f"in {len(devices)} processes on this machine, which Ultralytics launches"
    else:
        how = "in this process"
    yield "trains", f"{how}, with {job.trainer.__name__}" if job.trainer else how
    shown = {name: value for name, value in job.train.items() if name != "data"}
    yield "arguments", ", ".join(f"{name}={value}" for name, value in shown.items()) or "Ultralytics' own"
    if job.inputs:
        yield "inputs", ", ".join(job.inputs)
    for output in job.outputs:
        source = f"{output.upload}, uploaded to {output.s3}" if output.upload else output.s3
        yield "output", f"{output.name}: {source}"


def request_of(job: Job) -> Request:
    """Return what the doctor is to be asked about a job."""
    devices = devices_of(job.train.get("device"), job.parallel)
    return Request(job.wandb, manager=True, of_job=True, device=",".join(devices) or None)


def devices_of(device: Any, parallel: ParallelConfig) -> list[str]:
    """Return the devices of this machine by name, one for each process; none where Ultralytics chooses.

    Args:
        device: The job's ``train.device``.
        parallel: How many processes train.
    """
    if parallel.is_distributed():
        topology = Topology.from_env()
        device = list(range(topology.local_world_size if topology else 1))
    elif device is None and parallel.world_size:
        device = list(range(parallel.world_size))
    names = device if isinstance(device, list) else str("" if device is None else device).strip("[]() ").split(",")
    return [str(name).strip() for name in names if str(name).strip()]
