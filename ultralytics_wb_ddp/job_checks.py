"""What stands against a job on this machine, for the job itself and for a look at it before anything is started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ultralytics_wb_ddp.checks import ConfigurationError
from ultralytics_wb_ddp.ddp import check_launch, trains_on_cpu
from ultralytics_wb_ddp.doctor.job import request_of
from ultralytics_wb_ddp.doctor.machine import check_gpus

if TYPE_CHECKING:
    from ultralytics_wb_ddp.job_schema import Job

__all__ = ["check_job"]


def check_job(job: Job) -> None:
    """Refuse a job that cannot begin in this process, on this machine, with this release of Ultralytics.

    Args:
        job: The job, whose settings are right by themselves.

    Raises:
        ConfigurationError: Processes and devices do not fit together, a GPU or a port is missing.
    """
    device, batch = (job.train.get(name) for name in ("device", "batch"))
    if job.parallel.is_distributed():
        job.parallel.resolve(check_port=False)  # this process may have opened it
        return
    check_launch(job.parallel, device, job.trainer)
    request = request_of(job)
    names = request.devices
    if isinstance(batch, (int, float)) and batch < 1 and len(names) > 1:
        msg = (
            f"train.batch={batch}: Ultralytics finds a size of batches in one process only, and {len(names)} are asked "
            f"for; give a number of images, such as {8 * len(names)}"
        )
        raise ConfigurationError(msg)
    if not trains_on_cpu(job.trainer):
        wrong = next((each for each in check_gpus(request) if each.status != "ok"), None)
        if wrong and "-1" not in names:  # an idle one, which Ultralytics looks for
            msg = f"train.device={request.device}: {wrong.message.partition(': ')[2] or wrong.message}; {wrong.remedy}"
            raise ConfigurationError(msg)
