"""A job from its config to its exit code: the run, the training, and what comes before and after it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config.options import RunOptions
from ultralytics_wb_ddp.config.s3_path import S3Error
from ultralytics_wb_ddp.config.validation import ConfigurationError
from ultralytics_wb_ddp.distributed.parallel_config import ParallelConfig
from ultralytics_wb_ddp.distributed.topology import is_main_process
from ultralytics_wb_ddp.jobs.checks import check_job, find_training_state
from ultralytics_wb_ddp.jobs.schema import Job
from ultralytics_wb_ddp.runs.run_record import RunRecord
from ultralytics_wb_ddp.utils.environment import set_or_unset
from ultralytics_wb_ddp.utils.logging import logger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ultralytics_wb_ddp.artifacts.training_state import TrainingState
    from ultralytics_wb_ddp.manager import WandbManager


@dataclass(frozen=True)
class JobResult:
    """What a job has left.

    Attributes:
        run_id: Id of the run; None on a rank that is not the main process.
        url: Web address of the run; None offline.
        save_dir: Directory of the training.
        metrics: What ``model.train`` returned; None where nothing was trained.
        trained: Whether there was something to train; not where the training that was to be resumed is over already.
    """

    run_id: str | None
    url: str | None
    save_dir: Path
    metrics: Any
    trained: bool = True


def run_job(cfg: Any, *, name: str = "job") -> JobResult:
    """Run a job: everything that is wrong with it is said before anything is started.

    It trains as its processes are: as one rank where torchrun or srun has started it, else in the processes that
    Ultralytics launches for several devices, or in this one. The run stays open while Ultralytics' processes attach to
    it, unless ``wandb.keep_open`` is false. With ``train.resume`` it is the one of the training that is resumed. Where
    that is over, nothing is trained; its run is brought to its end if the job was killed before that.

    Args:
        cfg: The job as an OmegaConf config, mapping, dataclass or namespace: see :class:`Job`. Interpolations stay as
            they are written in the config that is stored with the run.
        name: Name of the job where ``cfg`` has none.

    Returns:
        The run and what the training has left.

    Raises:
        ConfigurationError: Something in the job is unknown, missing or wrong.
        S3Error: An output could not be uploaded or is not there; the run counts as failed.
        subprocess.CalledProcessError: A process of the training has failed.
    """
    from ultralytics import YOLO

    from ultralytics_wb_ddp.callback import add_wandb_callback

    job = Job.from_cfg(cfg, name)
    state = find_training_state(job)
    if state and state.is_over:
        return _finish_job_of_ended_training(job, state)
    check_job(job)
    model = YOLO(job.model, task=job.task)
    earlier = _find_record(job)
    manager = _make_manager(job, earlier)
    with _environment_of_earlier_run(earlier), manager:
        run_id = manager.run.id if manager.run else None
        manager.save_config(cfg)
        if job.inputs:
            manager.save_training_artifacts(*job.inputs)
        add_wandb_callback(model)
        manager.prepare_for_training()
        metrics = _train(job, model)
        manager.resume_after_training()
        save_dir = Path(model.trainer.save_dir)
        if manager.run:
            _log_outputs(job, manager, save_dir)
    _mark_job_ended(save_dir, run_id)
    return JobResult(run_id, manager.wandb_url, save_dir, metrics)


# Helpers
def _make_manager(job: Job, earlier: RunRecord | None) -> WandbManager:
    """Return the manager of a job's run, in the project in which its training began."""
    from ultralytics_wb_ddp.manager import WandbManager

    made = job.wandb
    if earlier and earlier.project:
        made = replace(made, id=None, project=earlier.project, entity=earlier.entity or made.entity)
    manager = WandbManager({"wandb": made}, job.name, job.group)
    manager.is_job_run = True
    return manager


def _finish_job_of_ended_training(job: Job, state: TrainingState) -> JobResult:
    """Say that the training of a job is over, and do what it was killed before, if it was."""
    logger.info("%s: nothing is trained; to train more, begin anew from its best.pt without train.resume", state)
    earlier, url = RunRecord.find(state.directory, state.checkpoint), None
    if earlier and state.is_run_open and is_main_process():
        earlier.check_not_running()
        with _environment_of_earlier_run(earlier), _make_manager(job, earlier) as manager:
            url = manager.wandb_url
            given = {item.name: getattr(job.wandb, item.name) for item in fields(RunOptions)}
            state.finish_run(**given)
            if manager.run:
                _log_outputs(job, manager, state.directory)
        _mark_job_ended(state.directory, earlier.id)
    run_id = state.run_id if is_main_process() else None
    return JobResult(run_id, url or (earlier.url if earlier else None), state.directory, None, trained=False)


def _mark_job_ended(save_dir: Path, run_id: str | None) -> None:
    """Have a training's directory know that its job has come to its end, and with it the run."""
    record = RunRecord.find(save_dir, None)
    if record and record.is_job_run and record.id == run_id:
        record.is_job_run = False
        record.save(save_dir, closed=True)


def _train(job: Job, model: Any) -> Any:
    """Train in the processes that there are, or are asked for."""
    if job.parallel.is_distributed() or job.parallel != ParallelConfig():
        from ultralytics_wb_ddp.distributed.train import train_distributed

        return train_distributed(model, parallel=job.parallel, trainer=job.trainer, **job.train)
    return model.train(trainer=job.trainer, **job.train)


def _log_outputs(job: Job, manager: WandbManager, save_dir: Path) -> None:
    """Log what the job leaves in S3, all that can be.

    Raises:
        S3Error: One of them cannot be.
    """
    failed: Exception | None = None
    for output in job.outputs:
        try:
            if output.upload is not None:
                from ultralytics_wb_ddp.artifacts.s3_upload import upload_to_s3

                s3_path = upload_to_s3(save_dir / output.upload, output.s3)
            else:
                s3_path = output.s3
            manager.log_s3_artifact(
                s3_path, output.name, output.type, aliases=output.aliases, metadata=output.metadata, strict=True
            )
        except (S3Error, ConfigurationError) as error:  # noqa: PERF203  # one does not keep the others back
            logger.error("output %s of job %s is missing: %s", output.name, job.name, error)
            failed = failed or error
    if failed:
        raise failed


def _find_record(job: Job) -> RunRecord | None:
    """Return which run the training has logged to that the job resumes."""
    resume = job.train.get("resume")
    if not resume or job.wandb.id or os.environ.get("WANDB_RUN_ID"):
        return None
    checkpoint = Path(job.model if resume is True else str(resume))
    return RunRecord.find(checkpoint.parent.parent, checkpoint)


@contextmanager
def _environment_of_earlier_run(earlier: RunRecord | None) -> Iterator[None]:
    """Have the manager continue a run: it takes what the environment names, and waits until its rows are counted."""
    variables = earlier.handoff().to_env() if earlier else {}
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            set_or_unset(name, value)
