"""Check a job on this machine, and find the training to resume."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ultralytics_wb_ddp.artifacts.training_state import TrainingState
from ultralytics_wb_ddp.config.types import group_of_environment
from ultralytics_wb_ddp.config.validation import ConfigurationError
from ultralytics_wb_ddp.distributed.devices import devices_of
from ultralytics_wb_ddp.distributed.train import check_launch, trains_on_cpu
from ultralytics_wb_ddp.doctor.finding import DoctorRequest
from ultralytics_wb_ddp.doctor.machine_checks import check_gpus
from ultralytics_wb_ddp.runs.run_record import RunRecord

if TYPE_CHECKING:
    from ultralytics_wb_ddp.jobs.schema import Job


def check_job(job: Job) -> None:
    """Check that a job can start in this process and machine.

    Raises:
        ConfigurationError: The processes do not fit the devices, a GPU is missing, a port is in use, or W&B refuses
            the group of the environment.
    """
    if not (job.group or job.wandb.group):
        group_of_environment()
    device, batch = (job.train.get(name) for name in ("device", "batch"))
    if job.parallel.is_distributed():
        job.parallel.resolve(check_port=False)  # this process may have opened the port
        return
    check_launch(job.parallel, device, job.trainer)
    request = doctor_request_for(job)
    names = request.devices
    if isinstance(batch, (int, float)) and batch < 1 and len(names) > 1:
        msg = (
            f"train.batch={batch}: Ultralytics finds a size of batches in one process only, and {len(names)} are asked "
            f"for; give a number of images, such as {8 * len(names)}"
        )
        raise ConfigurationError(msg)
    if not trains_on_cpu(job.trainer):
        failed_check = next((check for check in check_gpus(request) if check.status != "ok"), None)
        if failed_check and "-1" not in names:  # -1 means an idle GPU, which Ultralytics selects
            msg = (
                f"train.device={request.device}: "
                f"{failed_check.message.partition(': ')[2] or failed_check.message}; {failed_check.remedy}"
            )
            raise ConfigurationError(msg)


def doctor_request_for(job: Job) -> DoctorRequest:
    """Return the doctor's request for a job. A resumed training continues its run."""
    devices = devices_of(job.train.get("device"), job.parallel)
    request = DoctorRequest(job.wandb, manager=True, of_job=True, device=",".join(devices) or None)
    return request.continuing(RunRecord.of_resumed(job.train.get("resume"), job.model))


def find_training_state(job: Job) -> TrainingState | None:
    """Return the state of the training to resume.

    It is None if the job resumes no training, or if its checkpoint is not on this machine.

    Raises:
        ConfigurationError: The checkpoint is missing or damaged, or does not belong to a training.
    """
    resume = job.train.get("resume")
    checkpoint = Path(job.model if resume is True else str(resume))
    if isinstance(resume, str) and "://" not in resume and not checkpoint.exists():
        msg = (
            f"train.resume={resume!r}: there is no such file, and Ultralytics would go on with the newest training "
            f"instead; check the path"
        )
        raise ConfigurationError(msg)
    if resume is True and checkpoint.suffix != ".pt":
        msg = (
            f"train.resume=True: model={job.model!r} is no checkpoint, and Ultralytics would train it from the "
            f"beginning; name the weights/last.pt of a training as the model, or leave train.resume out"
        )
        raise ConfigurationError(msg)
    if not resume or checkpoint.suffix != ".pt" or not checkpoint.exists():
        return None
    state = TrainingState.of(checkpoint)
    if state.is_over and state.run_id is None and not (state.directory / "args.yaml").exists():
        msg = (
            f"train.resume={resume!r}: {str(checkpoint)!r} holds nothing to resume and is not a training's; "
            f"name the weights/last.pt of a training, or leave train.resume out to begin one from these weights"
        )
        raise ConfigurationError(msg)
    return state
