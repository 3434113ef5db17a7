"""Create the jobs of a sweep's trials and check the sweep's job."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config.validation import ConfigurationError
from ultralytics_wb_ddp.config.yaml_file import yaml_errors_as_user_errors
from ultralytics_wb_ddp.sweeps.sweep_config import check_objective, check_parameters, sample_values, train_arguments
from ultralytics_wb_ddp.utils.logging import pluralize
from ultralytics_wb_ddp.utils.serialization import to_plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ultralytics_wb_ddp.jobs.schema import Job


IGNORED_BY_AUTO = ("lr0", "momentum")  # optimizer="auto" sets these arguments itself


def make_trial_job(job: Any, parameters: Mapping[str, Any], *, device: Any, run_id: str, project: str) -> Any:
    """Return a trial's job as an OmegaConf config with unresolved interpolations.

    The parameters are training arguments, and ``model``. The device None keeps that of the job. The run's id is
    appended to the names of the run and of the training's directory.
    """
    from omegaconf import OmegaConf

    trial_job = OmegaConf.create(to_plain(job))
    arguments = train_arguments(parameters, "sweep")
    model = arguments.pop("model", None)
    if model is not None:
        section = trial_job.get("model")
        trial_job.model = {**to_plain(section), "weights": model} if hasattr(section, "keys") else model
    names = (str(part) for part in (OmegaConf.select(trial_job, "train.name"), run_id) if part)
    changes = {
        "name": "-".join(str(part) for part in (trial_job.get("name"), run_id) if part),
        "wandb": {"project": project},
        "train": {**arguments, "name": "-".join(names), **({} if device is None else {"device": device})},
    }
    return OmegaConf.merge(trial_job, changes)


def run_trial(job: Any, project: str, device: Any, parameters: dict[str, Any]) -> None:
    """Run the job of one trial in the current process."""
    from ultralytics_wb_ddp.jobs.run_job import run_job

    run_id = os.environ["WANDB_RUN_ID"]
    run_job(make_trial_job(job, parameters, device=device, run_id=run_id, project=project))


def devices_of(job: Any, agents: int) -> Any:
    """Return the devices that the agents share; None keeps the devices of the job.

    Raises:
        ConfigurationError: The job has no ``train.device``, and there are fewer GPUs than agents.
    """
    with job_errors_as_sweep_errors():
        device = (to_plain(job.get("train"), resolve=True) or {}).get("device")
    if agents == 1 or device == "cpu":
        return None
    if device is not None:
        return device if isinstance(device, (list, str)) else [device]
    import torch

    gpu_count = torch.cuda.device_count()
    if gpu_count and gpu_count < agents:
        gpus = pluralize(gpu_count, "GPU")
        msg = f"agents={agents}, but this machine has {gpus}; run fewer agents, or say train.device"
        raise ConfigurationError(msg)
    return list(range(agents)) if gpu_count else None


def check_job(job: Any, parameters: Mapping[str, Any], *, project: str, metric: str | None) -> None:
    """Check a job with sample values of a sweep's parameters.

    Raises:
        ConfigurationError: The job or a parameter is wrong, or the job ignores a parameter.
    """
    from ultralytics_wb_ddp.jobs.schema import Job

    check_parameters(parameters, "sweep")
    if metric is not None:
        check_objective(metric, "sweep")
    with job_errors_as_sweep_errors():
        checked = Job.from_cfg(
            make_trial_job(job, sample_values(parameters), device=None, run_id="trial", project=project)
        )
        _check_trial(checked)
    ignored = [name for name in IGNORED_BY_AUTO if name in parameters]
    if ignored and "optimizer" not in parameters and checked.train.get("optimizer", "auto") == "auto":
        msg = f"parameters.{ignored[0]}: optimizer='auto' ignores it; give the job's train.optimizer, such as SGD"
        raise ConfigurationError(msg)


@contextmanager
def job_errors_as_sweep_errors() -> Iterator[None]:
    """Name the sweep's job in errors. The user's file holds the sweep."""
    sweep_name = "the sweep's job"
    try:
        with yaml_errors_as_user_errors(Path(sweep_name)):
            yield
    except ConfigurationError as error:
        if str(error).startswith(sweep_name):
            raise
        msg = f"{sweep_name}: {str(error).removeprefix('the job: ')}"
        raise ConfigurationError(msg) from error


def _check_trial(checked: Job) -> None:
    if checked.wandb.id:
        msg = (
            f"wandb.id={checked.wandb.id!r}: each trial has a run of its own, whose id the sweep chooses; leave it out"
        )
    elif checked.wandb.mode in {"offline", "disabled"}:
        msg = f"wandb.mode={checked.wandb.mode!r}: a sweep needs W&B's server, which chooses the parameters"
    elif checked.wandb.run_mode == "new":
        msg = "run_mode='new': the sweep looks for its objective in the run of the trial; use 'auto' or 'shared'"
    elif checked.train.get("save_dir"):
        msg = f"train.save_dir={checked.train['save_dir']!r}: all trials would write there; give train.project instead"
    else:
        return
    raise ConfigurationError(msg)
