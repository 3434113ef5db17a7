"""Read and check the configuration of a W&B sweep before the start."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from ultralytics_wb_ddp.config.types import Text  # noqa: TC001  # pydantic reads the types
from ultralytics_wb_ddp.config.validation import FORBID_OTHERS, ConfigurationError, Rule, validate
from ultralytics_wb_ddp.config.yaml_file import read_config, yaml_errors_as_user_errors
from ultralytics_wb_ddp.jobs.train_arguments import check_train_arguments
from ultralytics_wb_ddp.utils.serialization import to_plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


LOGGED = ("train/", "val/", "lr/", "model/", "best/", "final/", "ranks/", "batch/")  # prefixes of further logged keys
CONTINUOUS = ("uniform", "log_uniform_values", "inv_log_uniform_values")
SAMPLE_FRACTION = 0.37  # of the range from min to max; gives a value that is not an integer in most ranges
SWEEP_ID = re.compile(r"[A-Za-z0-9_-]+")


def _check_not_empty(parameters: dict[str, Any]) -> dict[str, Any]:
    if not parameters:
        raise ValueError
    return parameters


Ranges = Annotated[
    dict[str, Any],
    Rule("a section of names, each with value, values, or min and max,", _check_not_empty),
]


@dataclass(frozen=True)
class Metric:
    """The section ``metric`` of a sweep: its objective."""

    name: Text
    goal: Literal["minimize", "maximize"] = "minimize"


@dataclass(frozen=True)
class SweepKeys:
    """W&B's configuration of a sweep, as far as it is checked here."""

    __pydantic_config__ = FORBID_OTHERS

    method: Literal["grid", "random", "bayes"]
    parameters: Ranges
    metric: Annotated[Metric | None, Rule("a metric with a name and a goal")] = None
    early_terminate: Any = None
    name: Any = None
    description: Any = None
    project: Any = None
    entity: Any = None
    run_cap: Any = None
    job: Any = None


@dataclass(frozen=True)
class SweepConfig:
    """Configuration of a sweep.

    Attributes:
        definition: W&B's configuration of the sweep.
        job: The job of the trials, as an OmegaConf config; None without a job.
    """

    definition: Mapping[str, Any]
    job: Any = None

    @classmethod
    def read(cls, source: Any, overrides: Sequence[str] = ()) -> SweepConfig:
        """Read a sweep from a YAML file, mapping or OmegaConf config.

        The key ``job`` holds a job, or the path of a job's file, relative to the sweep's folder. Overrides of a file
        are such as ``method=random`` and ``job.train.epochs=5``.

        Raises:
            ConfigurationError: The sweep cannot be read, or a setting is unknown, missing or contradictory.
        """
        from omegaconf import DictConfig, OmegaConf

        file = Path(source) if isinstance(source, (str, PathLike)) else None
        where = str(file or "sweep")
        job_overrides = [override for override in overrides if override.startswith("job.")]
        with yaml_errors_as_user_errors(Path(where)):
            config = read_config(file, overrides) if file else OmegaConf.create(to_plain(source))
            if file and job_overrides and isinstance(read_config(file).get("job"), str):  # overrides of the job's file
                config = read_config(file, [override for override in overrides if override not in job_overrides])
            job = config.pop("job", None) if isinstance(config, DictConfig) else None
            plain = to_plain(config, resolve=True)
        if not isinstance(plain, dict):
            msg = f"{where} is of type {type(source).__name__}; a sweep has method, metric and parameters"
            raise ConfigurationError(msg)
        _check(plain, where)
        if isinstance(job, str):
            job_file_overrides = [override.removeprefix("job.") for override in job_overrides]
            return cls(plain, read_job((file.parent if file else Path()) / job, job_file_overrides))
        name = plain.get("name") or (file.stem if file else None)
        return cls(plain, None if job is None else read_job(job, name=name))


def read_job(source: Any, overrides: Sequence[str] = (), *, name: str | None = None) -> Any:
    """Return a YAML file, a mapping or a config as a job with unresolved interpolations.

    A job without a name, if it is not a file, gets ``name``. Overrides of a file are ``key=value``.

    Raises:
        ConfigurationError: The job cannot be read, or is not a mapping.
    """
    from omegaconf import OmegaConf

    if isinstance(source, (str, PathLike)):
        config, name = read_config(Path(source), overrides), Path(source).stem
    else:
        plain = to_plain(source)
        if not isinstance(plain, dict):
            msg = f"job={source!r} is of type {type(source).__name__}; give a job, its file or a function"
            raise ConfigurationError(msg)
        config = OmegaConf.create(plain)
    if name:
        config.setdefault("name", name)
    return config


def _check(plain: dict[str, Any], where: str) -> None:
    for name in ("program", "command"):
        if name in plain:
            msg = f"{where}: {name!r} is for W&B's own agent; give the job under 'job', or a function in Python"
            raise ConfigurationError(msg)
    sweep: SweepKeys = validate(SweepKeys, plain, f"{where}: ")
    needs = "method: bayes" if sweep.method == "bayes" else "early_terminate" if sweep.early_terminate else ""
    if needs and not sweep.metric:
        msg = f"{where}: {needs} needs a metric, such as metric: {{name: metrics/mAP50-95(B), goal: maximize}}"
        raise ConfigurationError(msg)


def train_arguments(parameters: Mapping[str, Any], where: str, *, allow_others: bool = False) -> dict[str, Any]:
    """Convert a trial's parameters to arguments of ``model.train``.

    The value 3.0 becomes 3 if the argument is not a float. A string such as ``"0.01"`` becomes a number if the argument
    needs a number. With ``allow_others`` other parameters stay unchanged. ``where`` is their source, for messages.

    Raises:
        ConfigurationError: A parameter is not a training argument, or its value is invalid.
    """
    from ultralytics.utils import DEFAULT_CFG_DICT

    unknown = [name for name in parameters if name not in DEFAULT_CFG_DICT] if allow_others else []
    values = {
        name: value if isinstance(DEFAULT_CFG_DICT.get(name), float) or name in unknown else _as_int_if_whole(value)
        for name, value in parameters.items()
    }
    return check_train_arguments(values, where, also=unknown)


def _as_int_if_whole(value: Any) -> Any:
    number = value
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+\.0*", value.strip()):
        number = float(value)
    return int(number) if isinstance(number, float) and number.is_integer() else value


def check_parameters(parameters: Mapping[str, Any], where: str, *, allow_others: bool = False) -> None:
    """Check the known values of a sweep's parameters.

    Raises:
        ConfigurationError: A parameter is nested or not a training argument, or may get an invalid value.
    """
    from ultralytics.utils import DEFAULT_CFG_DICT

    for name, spec in parameters.items():
        if not isinstance(spec, dict) or not isinstance(spec.get("values", []), list):
            msg = f"{where}: parameters.{name}={spec!r}; value, values, or min and max are expected"
            raise ConfigurationError(msg)
        if "parameters" in spec and not allow_others:
            msg = f"{where}: parameters.{name} is nested; a job's parameters are arguments of model.train, such as lr0"
            raise ConfigurationError(msg)
        bounds = {type(spec[name]) for name in ("min", "max") if name in spec}
        if "distribution" not in spec and len(bounds) > 1:
            msg = f"{where}: parameters.{name}={spec}: write both bounds as whole numbers, or both with a point"
            raise ConfigurationError(msg)
        values = _values_of(spec) or [DEFAULT_CFG_DICT.get(name)]
        try:
            for value in values:
                train_arguments({name: value}, f"{where}: parameters", allow_others=allow_others)
        except ConfigurationError as error:
            if name not in DEFAULT_CFG_DICT or "min" not in spec:
                raise
            msg = (
                f"{error}; it may come from {spec}: whole numbers as min and max, 1 instead of 1.0, give whole numbers"
            )
            raise ConfigurationError(msg) from error


def sample_values(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return one possible value of each parameter with known values."""
    values = {name: _values_of(spec) for name, spec in parameters.items()}
    return {name: known[0] for name, known in values.items() if known}


def _values_of(spec: dict[str, Any]) -> list[Any]:  # noqa: PLR0911  # a case for each kind of range
    """Return sample values of a parameter; none if the values are unknown."""
    if "values" in spec:
        return list(spec["values"])
    if "value" in spec:
        return [spec["value"]]
    low, high = spec.get("min"), spec.get("max")
    if not isinstance(low, (int, float)) or not isinstance(high, (int, float)):
        return []
    both_whole = isinstance(low, int) and isinstance(high, int)
    distribution = spec.get("distribution", "int_uniform" if both_whole else "uniform")
    if distribution in CONTINUOUS:
        return [low, high, low + SAMPLE_FRACTION * (high - low)]
    if distribution in {"log_uniform", "inv_log_uniform"}:
        return [math.exp(low), math.exp(high)]
    if distribution == "q_uniform":
        step = spec.get("q", 1)
        return [round(low / step) * step, round(low / step) * step + step]
    return [low, high] if distribution == "int_uniform" else []


def check_objective(name: str, where: str) -> None:
    """Check that trainings log the objective of a sweep.

    Raises:
        ConfigurationError: No training logs the objective. The message suggests the nearest metric.
    """
    from ultralytics.utils import metrics

    metric_classes = [
        kind for class_name, kind in vars(metrics).items() if class_name.endswith("Metrics") and hasattr(kind, "keys")
    ]
    known = sorted({key for kind in metric_classes for key in kind().keys})
    if name in known or name.startswith(LOGGED):
        return
    close = sorted(difflib.get_close_matches(name, known))
    remedy = f"did you mean {' or '.join(map(repr, close))}?" if close else f"known are {', '.join(known)}"
    msg = f"{where}: metric.name={name!r} is nothing that a training logs; {remedy}"
    raise ConfigurationError(msg)


def sweep_path(text: str) -> str:
    """Return the path ``entity/project/id`` of a sweep, by its id, path or web address.

    A path without entity or project is returned unchanged.

    Raises:
        ConfigurationError: The text has another form.
    """
    parts = [unquote(part) for part in urlsplit(text).path.split("/") if part]
    if "://" in text:
        parts = [part for part in parts[-4:] if part != "sweeps"]
    if not 1 <= len(parts) <= len(("entity", "project", "id")) or not SWEEP_ID.fullmatch(parts[-1]):
        msg = f"{text!r} is no sweep; give entity/project/id or the web address of its page, or a YAML file"
        raise ConfigurationError(msg)
    return "/".join(parts)
