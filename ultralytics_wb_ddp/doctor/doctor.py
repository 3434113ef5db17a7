"""Forecast the run of a training and check for problems.

The checks run before GPU time is spent. Nothing in this room creates a run or writes to W&B's directories.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.doctor.finding import CheckResult, DoctorRequest

if TYPE_CHECKING:
    from pathlib import Path

    from ultralytics_wb_ddp.doctor.plan import TrainingForecast


def read_request(
    config: Path | None, given: dict[str, str | None], *, device: str | None = None, timeout: float = 10.0
) -> DoctorRequest:
    """Return the request of a config file and the command line.

    The file has a ``wandb`` section, or is a job. Options and device, such as ``"0,1"``, win over it; None counts as
    not given.

    Raises:
        ConfigurationError: The file is not valid YAML, or its ``wandb`` section is missing, or a value is wrong.
    """
    from ultralytics_wb_ddp.config.options import WandbConfig

    request = DoctorRequest(WandbConfig.parse(given, "--"))
    if config is not None:
        request = _read_config(config, {name: value for name, value in given.items() if value is not None})
    return replace(request, device=device or request.device, timeout=timeout)


def _read_config(file: Path, options: dict[str, str]) -> DoctorRequest:
    """Return the request of a YAML file, whose values the options override.

    Errors do not quote the file, because it may hold an API key.
    """
    from omegaconf import DictConfig, OmegaConf

    from ultralytics_wb_ddp.config.options import WandbConfig
    from ultralytics_wb_ddp.config.yaml_file import read_config, yaml_errors_as_user_errors
    from ultralytics_wb_ddp.distributed.devices import devices_of
    from ultralytics_wb_ddp.distributed.parallel_config import ParallelConfig
    from ultralytics_wb_ddp.runs.run_record import RunRecord
    from ultralytics_wb_ddp.utils.serialization import to_plain

    with yaml_errors_as_user_errors(file):
        cfg: Any = OmegaConf.merge(read_config(file), {"wandb": options})
        train = cfg.get("train")
        if not isinstance(train, DictConfig):
            return DoctorRequest(WandbConfig.from_cfg(cfg, where="wandb"), manager=True)
        cfg.setdefault("name", file.stem)  # as the command that runs the job does
        devices = devices_of(to_plain(train.get("device"), resolve=True), ParallelConfig.from_cfg(cfg))
        wandb_options = WandbConfig.from_cfg(cfg, where="wandb")
        model = to_plain(cfg.get("model"), resolve=True)
        weights = model.get("weights") if isinstance(model, dict) else model
        record = RunRecord.of_resumed(to_plain(train.get("resume"), resolve=True), str(weights))
    return DoctorRequest(wandb_options, manager=True, of_job=True, device=",".join(devices) or None).continuing(record)


def run_checks(request: DoctorRequest) -> tuple[TrainingForecast | None, list[CheckResult]]:
    """Return the forecast and the results of all checks.

    The forecast is None if the client's settings or the handoff are invalid.
    """
    from ultralytics_wb_ddp.config.validation import ConfigurationError
    from ultralytics_wb_ddp.doctor.environment_checks import check_leftovers
    from ultralytics_wb_ddp.doctor.finding import error
    from ultralytics_wb_ddp.doctor.machine_checks import check_directories, check_gpus, check_packages
    from ultralytics_wb_ddp.doctor.plan import make_forecast
    from ultralytics_wb_ddp.doctor.server_checks import check_server

    findings = [*check_packages(request), *check_gpus(request), *check_leftovers(request)]
    settings, errors = _client_settings()
    findings += errors
    plan = None
    if settings is not None:
        try:
            plan = make_forecast(request, settings)
        except ConfigurationError:  # check_leftovers has reported it
            plan = None
        else:
            if plan.action == "refuse":
                findings.append(
                    error("run", plan.reason, "unset WANDB_RUN_ID ULTRALYTICS_WB_DDP if they are left over")
                )
            findings += check_server(request, plan, settings)
    return plan, [*findings, *check_directories(request, settings)]


def check_past_training(request: DoctorRequest, training: Path) -> list[CheckResult]:
    """Return the check results of a training that has run.

    The request's ``directory`` is that of W&B's files; by default ``WANDB_DIR`` or the working directory.
    """
    import os
    from pathlib import Path

    from ultralytics_wb_ddp.doctor.machine_checks import quiet_output
    from ultralytics_wb_ddp.doctor.past_training_checks import check_training

    launcher = request.directory or Path(os.environ.get("WANDB_DIR") or Path.cwd())
    with quiet_output():
        return check_training(training.resolve(), launcher.resolve())


def _client_settings() -> tuple[Any, list[CheckResult]]:
    from ultralytics_wb_ddp.doctor.finding import error
    from ultralytics_wb_ddp.doctor.machine_checks import quiet_output

    try:
        with quiet_output():
            from ultralytics_wb_ddp.wandb_client.internals import client_settings

            return client_settings(), []
    except ImportError:  # check_packages has reported it
        return None, []
    except Exception as problem:  # noqa: BLE001  # the class differs between W&B releases
        text = f"W&B refuses its settings: {_without_input(problem)}"
        return None, [error("settings", text, "fix the WANDB_ variable or the settings file that it names")]


def _without_input(problem: Exception) -> str:
    """Return the errors of settings without their values.

    A value may be the API key. It is shown only if the setting is a choice among a few words.
    """
    errors = getattr(problem, "errors", None)
    if errors is None:
        return type(problem).__name__
    return "; ".join(f"{_describe_field(item)}: {item['msg']}" for item in errors(include_input=False))


def _describe_field(item: dict[str, Any]) -> str:
    import os

    setting = ".".join(map(str, item["loc"]))
    variable = f"WANDB_{setting.upper()}"
    if variable not in os.environ:
        return setting
    return f"{variable}={os.environ[variable]!r}" if item["type"] == "literal_error" else variable
