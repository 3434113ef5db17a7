"""Check the settings of a job before the start."""

from __future__ import annotations

import difflib
import pkgutil
import re
from collections.abc import Mapping  # noqa: TC003  # pydantic reads the types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from ultralytics_wb_ddp.config.names import run_name
from ultralytics_wb_ddp.config.options import OMEGACONF_MISSING, WandbConfig
from ultralytics_wb_ddp.config.scope import scope_settings
from ultralytics_wb_ddp.config.types import Aliases, ArtifactName, Name, S3Object, Text, UploadedPath
from ultralytics_wb_ddp.config.validation import FORBID_OTHERS, SECTION, ConfigurationError, Rule, known_keys, validate
from ultralytics_wb_ddp.distributed.parallel_config import ParallelConfig
from ultralytics_wb_ddp.jobs.train_arguments import check_data, check_train_arguments, quiet_ultralytics
from ultralytics_wb_ddp.utils.serialization import to_plain

THE_JOB = "the job"
TRAINER = "trainer"  # an argument of model.train that takes a class; a job gives the name of the class
TASKS_BY_NAME = {"-seg": "segment", "-cls": "classify", "-pose": "pose", "-obb": "obb"}  # of Ultralytics' weights
MOVED_ARGUMENTS = {"model": "model", "task": "model.task"}  # training arguments and their settings in a job


def _check_inputs(paths: tuple[str, ...]) -> tuple[str, ...]:
    by_name: dict[str, str] = {}
    for path in paths:
        name = Path(path).resolve().name
        if name in by_name:
            msg = f"{path!r} and {by_name[name]!r} have the same name; give a folder that holds both"
            raise ValueError(msg)
        by_name[name] = path
    return paths


def _check_path(path: str) -> str:
    if not Path(path).exists():
        msg = "it does not exist; check the path"
        raise ValueError(msg)
    return path


def _check_task(task: str) -> str:
    from ultralytics.cfg import TASKS

    if task not in TASKS:
        msg = f"it is unknown; choose one of {', '.join(sorted(TASKS))}"
        raise ValueError(msg)
    return task


def _as_list(value: Any) -> Any:
    return [] if value is None else [value] if isinstance(value, str) else value


def _as_section(value: Any) -> Any:
    return {} if value is None else value


def _as_model(value: Any) -> Any:
    return {"weights": value} if isinstance(value, str) else value


LIST = "a list, each item with a '-' before it,"
WEIGHTS = "weights or a model's YAML, such as yolo11n.pt,"
InputPath = Annotated[str, Rule("a path", _check_path)]
InputPaths = Annotated[tuple[InputPath, ...], Rule(LIST, _check_inputs, _as_list)]
Weights = Annotated[str, Rule(WEIGHTS)]
OptionalName = Annotated[Name | None, Rule(convert=lambda name: name or None)]
Task = Annotated[str, Rule("a task of Ultralytics", _check_task)]


@dataclass(frozen=True)
class Output:
    """Objects in S3 that the run references after the training.

    Attributes:
        s3: ``s3://bucket/key`` of an object or a prefix.
        upload: File or directory that is uploaded to ``s3`` first. A relative path is below the training's directory.
    """

    __pydantic_config__ = FORBID_OTHERS

    s3: S3Object
    name: ArtifactName
    upload: UploadedPath | None = None
    type: Text = "model"
    aliases: Aliases = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


Outputs = Annotated[tuple[Output, ...], Rule(LIST, convert=_as_list)]


@dataclass(frozen=True)
class Artifacts:
    """The section ``artifacts`` of a job.

    Attributes:
        inputs: Files and directories that become input artifacts of the run.
        outputs: Objects in S3 that the run references after the training.
    """

    __pydantic_config__ = FORBID_OTHERS

    inputs: InputPaths = ()
    outputs: Outputs = ()


@dataclass(frozen=True)
class Model:
    """The section ``model`` of a job. A string is the weights.

    Attributes:
        task: Task of the model; None leaves the task to Ultralytics.
    """

    __pydantic_config__ = FORBID_OTHERS

    weights: Weights
    task: Task | None = None


@dataclass(frozen=True)
class Sections:
    """The settings of a job, as the user writes them."""

    __pydantic_config__ = FORBID_OTHERS

    model: Annotated[Model, Rule(WEIGHTS, convert=_as_model)]
    name: OptionalName = None
    group: OptionalName = None
    wandb: Any = None
    train: Annotated[dict[str, Any], Rule(SECTION, convert=_as_section)] = field(default_factory=dict)
    parallel: Any = None
    artifacts: Annotated[Artifacts, Rule(convert=_as_section)] = field(default_factory=Artifacts)


@dataclass(frozen=True)
class Job:
    """A training with its run, inputs and outputs.

    Attributes:
        task: Task of the model; None leaves the task to Ultralytics.
        trainer: Trainer class; None leaves the class to Ultralytics.
        parallel: Number of processes and their rendezvous.
        outputs: Objects in S3 that the run references after the training.
    """

    name: str
    group: str | None
    wandb: WandbConfig
    model: str
    task: str | None
    trainer: type | None
    train: Mapping[str, Any]
    parallel: ParallelConfig
    inputs: tuple[str, ...]
    outputs: tuple[Output, ...]

    @classmethod
    def from_cfg(cls, cfg: Any, name: str = "job") -> Job:
        """Return a checked job; this imports Ultralytics.

        Args:
            cfg: The job as an OmegaConf config, a mapping, a dataclass or a namespace, with the sections ``wandb``,
                ``model``, ``train``, ``parallel`` and ``artifacts``.
            name: Name of the job if ``cfg`` has no name.

        Raises:
            ConfigurationError: A setting is unknown, missing or wrong.
        """
        values = to_plain(cfg, resolve=True)
        _reject_misplaced_settings(values)
        sections: Sections = validate(Sections, _as_section(values), title=THE_JOB)
        _reject_missing_values({"train": sections.train})
        names = [key for key in ("name", "group") if getattr(sections, key)]
        wandb = WandbConfig.from_cfg(values, {"keep_open": True, **scope_settings(*names)}, where="wandb")
        weights, task = sections.model.weights, sections.model.task
        _check_weights(weights)
        train = dict(sections.train)
        for argument, setting in MOVED_ARGUMENTS.items():
            if argument in train:
                msg = f"train.{argument}={train[argument]!r}: a job has it in {setting}; write it there"
                raise ConfigurationError(msg)
        trainer = _find_trainer(train.pop(TRAINER, None))
        train = check_train_arguments(train, "train", also=[TRAINER], trainer=trainer)
        check_data(
            train.get("data"),
            "train.data",
            needed=not (train.get("resume") or train.get("cfg")),
            own_format=trainer is not None and _reads_data_itself(trainer),
            task=lambda: task or _task_of(weights),
        )
        return cls(
            name=sections.name or run_name(name),
            group=sections.group,
            wandb=wandb,
            model=weights,
            task=task,
            trainer=trainer,
            train=train,
            parallel=ParallelConfig.from_cfg(values),
            inputs=sections.artifacts.inputs,
            outputs=sections.artifacts.outputs,
        )


def _reject_misplaced_settings(values: Any) -> None:
    from ultralytics.utils import DEFAULT_CFG_DICT

    settings = {"wandb": known_keys(WandbConfig), "train": list(DEFAULT_CFG_DICT)}
    for name in values if isinstance(values, dict) else ():
        section = next((section for section, known in settings.items() if name in known), None)
        if section and name not in known_keys(Sections):
            msg = f"{THE_JOB}: {name!r} is unknown; did you mean '{section}.{name}'?"
            raise ConfigurationError(msg)


def _reject_missing_values(values: Any, setting: str = "") -> None:
    """Refuse a job of which values are still to be given."""
    if values == OMEGACONF_MISSING:
        msg = f"{setting} is {OMEGACONF_MISSING}, to be given when the job is run: {setting}=VALUE"
        raise ConfigurationError(msg)
    for name, value in values.items() if isinstance(values, dict) else ():
        _reject_missing_values(value, f"{setting}.{name}".removeprefix("."))


def _check_weights(weights: str) -> None:
    from ultralytics.nn.tasks import yaml_model_load
    from ultralytics.utils import SETTINGS
    from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES

    path = Path(weights)
    if path.suffix in {".yaml", ".yml"}:
        try:
            yaml_model_load(weights)
        except FileNotFoundError as error:
            msg = f"model={weights!r}: there is no such file, here or in Ultralytics; check the path"
            raise ConfigurationError(msg) from error
        return
    name = path.name if path.suffix else f"{path.name}.pt"
    is_here = path.exists() or Path(SETTINGS["weights_dir"], name).exists()
    if not is_here and "://" not in weights and name not in GITHUB_ASSETS_NAMES:
        close = difflib.get_close_matches(name, GITHUB_ASSETS_NAMES, n=1)
        remedy = f"did you mean {close[0]!r}?" if close and path.name == weights else "check the path"
        msg = f"model={weights!r}: there is no such file, and none of this name that Ultralytics downloads; {remedy}"
        raise ConfigurationError(msg)


def _task_of(weights: str) -> str | None:
    """Return the task from the model's file or name; None if unknown."""
    from ultralytics import YOLO
    from ultralytics.nn.tasks import guess_model_task, yaml_model_load

    path = Path(weights)
    with quiet_ultralytics():
        try:
            if path.suffix in {".yaml", ".yml"}:
                return str(guess_model_task(yaml_model_load(weights)))
            if path.exists():
                return str(YOLO(weights).task)
        except Exception:  # noqa: BLE001  # the training reports a damaged file
            return None
    named = next((task for ending, task in TASKS_BY_NAME.items() if path.stem.endswith(ending)), None)
    return named or ("detect" if re.fullmatch(r"yolo[v\d]*[a-z]u?", path.stem) else None)


def _find_trainer(name: Any) -> type | None:
    """Return the trainer class of ``train.trainer``, which has the form ``package.module:Class``."""
    if name is None:
        return None
    from ultralytics.engine.trainer import BaseTrainer

    remedy = "name a trainer class as package.module:Class"
    try:
        trainer_class = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        msg = f"train.trainer={name!r}: {error}; {remedy}"
        raise ConfigurationError(msg) from error
    if not (isinstance(trainer_class, type) and issubclass(trainer_class, BaseTrainer)):
        msg = f"train.trainer={name!r} is no trainer of Ultralytics; {remedy}"
        raise ConfigurationError(msg)
    return trainer_class


def _reads_data_itself(trainer: Any) -> bool:
    from ultralytics.engine.trainer import BaseTrainer

    return trainer.get_dataset is not BaseTrainer.get_dataset
