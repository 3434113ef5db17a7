"""A sweep of a job: what a trial changes in it, and what cannot be swept is said before anything is started."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config.validation import ConfigurationError
from ultralytics_wb_ddp.config.yaml_file import yaml_errors_as_user_errors
from ultralytics_wb_ddp.sweeps.sweep_config import check_objective, check_parameters, sample_values, train_arguments
from ultralytics_wb_ddp.utils.serialization import to_plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ultralytics_wb_ddp.jobs.schema import Job


IGNORED_BY_AUTO = ("lr0", "momentum")  # optimizer="auto" chooses them itself


def make_trial_job(job: Any, parameters: Mapping[str, Any], *, device: Any, run_id: str, project: str) -> Any:
    """Return the job of one trial, as an OmegaConf config whose interpolations are left as they are.

    Args:
        job: The job as it was written.
        parameters: The trial's parameters: training arguments, and ``model``.
        device: Its devices; None leaves them as in the job.
        run_id: Id of its run, by which its run and its directory are named.
        project: Project of the sweep.
    """
    from omegaconf import OmegaConf

    written = OmegaConf.create(to_plain(job))
    arguments = train_arguments(parameters, "sweep")
    model = arguments.pop("model", None)
    if model is not None:
        section = written.get("model")
        written.model = {**to_plain(section), "weights": model} if hasattr(section, "keys") else model
    names = (str(part) for part in (OmegaConf.select(written, "train.name"), run_id) if part)
    changes = {
        "name": "-".join(str(part) for part in (written.get("name"), run_id) if part),
        "wandb": {"project": project},
        "train": {**arguments, "name": "-".join(names), **({} if device is None else {"device": device})},
    }
    return OmegaConf.merge(written, changes)


def run_trial(job: Any, project: str, device: Any, parameters: dict[str, Any]) -> None:
    """Run the job of one trial, in its process."""
    from ultralytics_wb_ddp.jobs.run_job import run_job

    run_id = os.environ["WANDB_RUN_ID"]
    run_job(make_trial_job(job, parameters, device=device, run_id=run_id, project=project))


def devices_of(job: Any, agents: int) -> Any:
    """Return the devices that the agents are to share; None leaves each trial to the job.

    Raises:
        ConfigurationError: There are fewer GPUs than agents, and the job does not say what to use.
    """
    with job_errors_as_sweep_errors():
        device = (to_plain(job.get("train"), resolve=True) or {}).get("device")
    if agents == 1 or device == "cpu":
        return None
    if device is not None:
        return device if isinstance(device, (list, str)) else [device]
    import torch

    found = torch.cuda.device_count()
    if found and found < agents:
        msg = f"agents={agents}, but there are {found} GPUs; run fewer agents, or say train.device"
        raise ConfigurationError(msg)
    return list(range(agents)) if found else None


def check_job(job: Any, parameters: Mapping[str, Any], *, project: str, metric: str | None) -> None:
    """Check a job with the parameters of a sweep, as a trial will have them.

    Raises:
        ConfigurationError: Something is wrong with the job or a parameter, or a trial would be in vain.
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
    """Say of what is wrong with a job that it is the sweep's, because the file that was named holds the sweep."""
    place = "the sweep's job"
    try:
        with yaml_errors_as_user_errors(Path(place)):
            yield
    except ConfigurationError as error:
        if str(error).startswith(place):
            raise
        msg = f"{place}: {str(error).removeprefix('the job: ')}"
        raise ConfigurationError(msg) from error


def _check_trial(checked: Job) -> None:
    """Refuse a job that the trials of a sweep cannot share."""
    mode, _ = checked.wandb.logging_mode()
    if checked.wandb.id:
        msg = (
            f"wandb.id={checked.wandb.id!r}: each trial has a run of its own, whose id the sweep chooses; leave it out"
        )
    elif checked.wandb.mode in {"offline", "disabled"}:
        msg = f"wandb.mode={checked.wandb.mode!r}: a sweep needs W&B's server, which chooses the parameters"
    elif mode == "new":
        msg = "run_mode='new': the sweep looks for its objective in the run of the trial; use 'auto' or 'shared'"
    elif checked.train.get("save_dir"):
        msg = f"train.save_dir={checked.train['save_dir']!r}: all trials would write there; give train.project instead"
    else:
        return
    raise ConfigurationError(msg)
