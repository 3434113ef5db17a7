"""Run a job: open its run, train, and log its outputs."""

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
    """Result of a job.

    Attributes:
        run_id: Id of the run; None on a rank that is not the main process.
        url: Web address of the run; None offline.
        save_dir: Directory of the training.
        metrics: Return value of ``model.train``; None without a training.
        trained: Whether the job trained; False if the training to resume was already complete.
    """

    run_id: str | None
    url: str | None
    save_dir: Path
    metrics: Any
    trained: bool = True


def run_job(cfg: Any, *, name: str = "job") -> JobResult:
    """Check a job, train its model and log its outputs.

    All checks run before the training starts. A process that torchrun or srun started trains as one rank. Otherwise
    Ultralytics launches the processes for several devices, or this process trains. The run stays open while the
    workers of Ultralytics attach to the run, unless ``wandb.keep_open`` is false. With ``train.resume``, the job
    continues the run of the resumed training. If this training is complete, the job trains nothing; it only finishes
    the run if the job was killed before the run's end.

    Args:
        cfg: The job as an OmegaConf config, mapping, dataclass or namespace: see :class:`Job`. The config that is
            stored with the run keeps its interpolations unresolved.
        name: Name of the job if ``cfg`` has no name.

    Returns:
        The run, the directory and the metrics of the training.

    Raises:
        ConfigurationError: A setting of the job is unknown, missing or wrong.
        S3Error: An output could not be uploaded or does not exist; the run is marked as failed.
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
    is_named = job.wandb.id or os.environ.get("WANDB_RUN_ID")
    previous = None if is_named else RunRecord.of_resumed(job.train.get("resume"), job.model)
    manager = _make_manager(job, previous)
    with _environment_of_earlier_run(previous), manager:
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
def _make_manager(job: Job, previous: RunRecord | None) -> WandbManager:
    """Return the manager of a job's run. A resumed training keeps its project."""
    from ultralytics_wb_ddp.manager import WandbManager

    config = job.wandb
    if previous and previous.project:
        config = replace(config, id=None, project=previous.project, entity=previous.entity or config.entity)
    manager = WandbManager({"wandb": config}, job.name, job.group)
    manager.is_job_run = True
    return manager


def _finish_job_of_ended_training(job: Job, state: TrainingState) -> JobResult:
    logger.info("%s: nothing is trained; to train more, begin anew from its best.pt without train.resume", state)
    previous, url = RunRecord.find(state.directory, state.checkpoint), None
    if previous and state.is_run_open and is_main_process():
        previous.check_not_running()
        with _environment_of_earlier_run(previous), _make_manager(job, previous) as manager:
            url = manager.wandb_url
            options = {item.name: getattr(job.wandb, item.name) for item in fields(RunOptions)}
            state.finish_run(**options)
            if manager.run:
                _log_outputs(job, manager, state.directory)
        _mark_job_ended(state.directory, previous.id)
    run_id = state.run_id if is_main_process() else None
    return JobResult(run_id, url or (previous.url if previous else None), state.directory, None, trained=False)


def _mark_job_ended(save_dir: Path, run_id: str | None) -> None:
    record = RunRecord.find(save_dir, None)
    if record and record.is_job_run and record.id == run_id:
        record.is_job_run = False
        record.save(save_dir, exit_code=0)


def _train(job: Job, model: Any) -> Any:
    if job.parallel.is_distributed() or job.parallel != ParallelConfig():
        from ultralytics_wb_ddp.distributed.train import train_distributed

        return train_distributed(model, parallel=job.parallel, trainer=job.trainer, **job.train)
    return model.train(trainer=job.trainer, **job.train)


def _log_outputs(job: Job, manager: WandbManager, save_dir: Path) -> None:
    """Log all outputs of the job in S3.

    Raises:
        S3Error: An output could not be logged; the other outputs are logged nevertheless.
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
        except (S3Error, ConfigurationError) as error:  # noqa: PERF203  # the other outputs are still to be logged
            logger.error("output %s of job %s is missing: %s", output.name, job.name, error)
            failed = failed or error
    if failed:
        raise failed


@contextmanager
def _environment_of_earlier_run(previous: RunRecord | None) -> Iterator[None]:
    variables = previous.handoff().to_env() if previous else {}
    original_values = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in original_values.items():
            set_or_unset(name, value)
