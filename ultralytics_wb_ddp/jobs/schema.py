"""Check the settings of a job before the start."""

from __future__ import annotations

import difflib
import pkgutil
import re
from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config.names import alias_problem, artifact_name_problem, run_name
from ultralytics_wb_ddp.config.options import OMEGACONF_MISSING, WandbConfig
from ultralytics_wb_ddp.config.s3_path import S3Error, S3Path
from ultralytics_wb_ddp.config.scope import scope_settings
from ultralytics_wb_ddp.config.validation import ConfigurationError, check_known_keys, check_text
from ultralytics_wb_ddp.distributed.parallel_config import ParallelConfig
from ultralytics_wb_ddp.jobs.train_arguments import check_data, check_train_arguments, quiet_ultralytics
from ultralytics_wb_ddp.utils.serialization import to_plain

if TYPE_CHECKING:
    from collections.abc import Mapping


SECTIONS = ["name", "group", "wandb", "model", "train", "parallel", "artifacts"]
TRAINER = "trainer"  # an argument of model.train that takes a class; a job gives the name of the class
TASKS_BY_NAME = {"-seg": "segment", "-cls": "classify", "-pose": "pose", "-obb": "obb"}  # of Ultralytics' weights
MOVED_ARGUMENTS = {"model": "model", "task": "model.task"}  # training arguments and their settings in a job


@dataclass(frozen=True)
class Output:
    """Objects in S3 that the run references after the training.

    Attributes:
        s3: ``s3://bucket/key`` of an object or a prefix.
        upload: File or directory that is uploaded to ``s3`` first. A relative path is below the training's directory.
    """

    s3: str
    name: str
    upload: str | None = None
    type: str = "model"
    aliases: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, values: Any, where: str) -> Output:
        """Return a checked output. ``where`` names it in messages.

        Raises:
            ConfigurationError: A setting is missing or wrong.
        """
        section = _parse_section(values, where, [item.name for item in fields(cls)])
        for name in ("s3", "name"):
            if not section.get(name):
                msg = f"{where}.{name} is missing; give 's3: s3://bucket/key' and a name for the artifact"
                raise ConfigurationError(msg)
        aliases = section.get("aliases") or ()
        section["aliases"] = (aliases,) if isinstance(aliases, str) else tuple(aliases)
        output = cls(**{name: value for name, value in section.items() if value is not None})
        try:
            S3Path.parse(output.s3)
        except S3Error as error:
            msg = f"{where}.s3: {error}"
            raise ConfigurationError(msg) from error
        if problem := artifact_name_problem(output.name):
            msg = f"{where}.name={output.name!r}: {problem}"
            raise ConfigurationError(msg)
        for alias in output.aliases:
            if problem := alias_problem(alias):
                msg = f"{where}.aliases: {alias!r}: {problem}"
                raise ConfigurationError(msg)
        if output.upload is not None and find_spec("boto3") is None:
            msg = f"{where}.upload needs boto3; install it with: pip install 'ultralytics-wb-ddp[s3]'"
            raise ConfigurationError(msg)
        return output


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
        values = _parse_section(values, "the job", SECTIONS)
        names = [name_key for name_key in ("name", "group") if values.get(name_key)]
        for name_key in names:
            _check_text(name_key, values[name_key])
            check_text(name_key, values[name_key])
        wandb = WandbConfig.from_cfg(values, {"keep_open": True, **scope_settings(*names)}, where="wandb")
        model, task = _read_model(values.get("model"))
        train = _parse_section(values.get("train"), "train")
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
            task=lambda: task or _task_of(model),
        )
        artifacts = _parse_section(values.get("artifacts"), "artifacts", ["inputs", "outputs"])
        outputs = _parse_list(artifacts.get("outputs"), "artifacts.outputs")
        return cls(
            name=values.get("name") or run_name(name),
            group=values.get("group"),
            wandb=wandb,
            model=model,
            task=task,
            trainer=trainer,
            train=train,
            parallel=ParallelConfig.from_cfg(values),
            inputs=_check_inputs(_parse_list(artifacts.get("inputs"), "artifacts.inputs")),
            outputs=tuple(Output.parse(output, f"artifacts.outputs[{index}]") for index, output in enumerate(outputs)),
        )


def _parse_section(values: Any, where: str, known: list[str] | None = None) -> dict[str, Any]:
    """Return a checked section of a job. A missing one is empty."""
    if values is None:
        return {}
    if not isinstance(values, dict):
        msg = f"{where}={values!r}: 'name: value' lines are expected" + (f": {', '.join(known)}" if known else "")
        raise ConfigurationError(msg)
    if known:
        check_known_keys(values, known, where)
    missing = next((name for name, value in values.items() if value == OMEGACONF_MISSING), None)
    if missing is not None:
        setting = missing if where == "the job" else f"{where}.{missing}"
        msg = f"{setting} is {OMEGACONF_MISSING}, to be given when the job is run: {setting}=VALUE"
        raise ConfigurationError(msg)
    return dict(values)


def _reject_misplaced_settings(values: Any) -> None:
    from ultralytics.utils import DEFAULT_CFG_DICT

    settings = {"wandb": [item.name for item in fields(WandbConfig)], "train": list(DEFAULT_CFG_DICT)}
    for name in values if isinstance(values, dict) else ():
        section = next((section for section, known in settings.items() if name in known), None)
        if section and name not in SECTIONS:
            msg = f"the job: {name!r} is unknown; did you mean '{section}.{name}'?"
            raise ConfigurationError(msg)


def _parse_list(values: Any, where: str) -> list[Any]:
    """Return a list of a job. A single string becomes a list of one item."""
    if values is None:
        return []
    if not isinstance(values, (list, str)):
        msg = f"{where}={values!r}: a list is expected, each with a '-' before it"
        raise ConfigurationError(msg)
    return [values] if isinstance(values, str) else values


def _check_text(setting: str, value: Any) -> None:
    if value is not None and not isinstance(value, str):
        msg = f"{setting}={value!r} is of type {type(value).__name__}; a string is expected"
        raise ConfigurationError(msg)


def _read_model(section: Any) -> tuple[str, str | None]:
    """Return the weights and the task of the model.

    Raises:
        ConfigurationError: The weights are missing, Ultralytics cannot find or download them, or the task is unknown.
    """
    values = _parse_section({"weights": section} if isinstance(section, str) else section, "model", ["weights", "task"])
    weights, task = values.get("weights"), values.get("task")
    if weights is None:
        msg = "model is missing; name weights or a model's YAML, such as model: yolo11n.pt"
        raise ConfigurationError(msg)
    _check_text("model.weights", weights)
    _check_text("model.task", task)
    _check_weights(weights)
    if task is not None:
        from ultralytics.cfg import TASKS

        if task not in TASKS:
            msg = f"model.task={task!r} is unknown; choose one of {', '.join(sorted(TASKS))}"
            raise ConfigurationError(msg)
    return weights, task


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


def _check_inputs(paths: list[Any]) -> tuple[str, ...]:
    """Return the inputs, which must exist and have different names."""
    by_name: dict[str, str] = {}
    for index, path in enumerate(paths):
        setting = f"artifacts.inputs[{index}]"
        _check_text(setting, path)
        if not Path(path).exists():
            msg = f"{setting}={path!r} does not exist; check the path"
            raise ConfigurationError(msg)
        name = Path(path).resolve().name
        if name in by_name:
            msg = f"{setting}={path!r} and {by_name[name]!r} have the same name; give a folder that holds both"
            raise ConfigurationError(msg)
        by_name[name] = path
    return tuple(paths)
