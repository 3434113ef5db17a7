"""What a job may hold, checked before anything is started."""

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
TRAINER = "trainer"  # an argument of model.train that is a class: here it is named
TASKS_BY_NAME = {"-seg": "segment", "-cls": "classify", "-pose": "pose", "-obb": "obb"}  # of Ultralytics' weights
MOVED_ARGUMENTS = {"model": "model", "task": "model.task"}  # training arguments that a job has another place for


@dataclass(frozen=True)
class Output:
    """Something in S3 that the run refers to when the training is over.

    Attributes:
        s3: ``s3://bucket/key`` of an object or a prefix.
        name: Name of the artifact.
        upload: File or directory that is uploaded there first, below the training's directory unless it is absolute.
        type: Type of the artifact.
        aliases: Aliases of the artifact.
        metadata: Metadata of the artifact.
    """

    s3: str
    name: str
    upload: str | None = None
    type: str = "model"
    aliases: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, values: Any, where: str) -> Output:
        """Check what a user wrote.

        Raises:
            ConfigurationError: It is incomplete or wrong.
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
    """A training with what comes before and after it.

    Attributes:
        name: Name of the job, and of its run.
        group: Group of the run.
        wandb: How the run is made.
        model: Weights or YAML that the training starts from.
        task: Task of the model; None is left to Ultralytics.
        trainer: Trainer class; None is left to Ultralytics.
        train: Arguments of ``model.train``.
        parallel: How many processes train and where they meet.
        inputs: Files and folders that are stored with the run.
        outputs: What the run refers to when the training is over.
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
        """Check a job: an OmegaConf config, a mapping, a dataclass or a namespace. Imports Ultralytics.

        Args:
            cfg: The job, with the sections ``wandb``, ``model``, ``train``, ``parallel`` and ``artifacts``.
            name: Name of the job where it has none.

        Raises:
            ConfigurationError: Something is unknown, missing or wrong.
        """
        values = to_plain(cfg, resolve=True)
        _reject_misplaced_settings(values)
        values = _parse_section(values, "the job", SECTIONS)
        named = [given for given in ("name", "group") if values.get(given)]
        for given in named:
            _check_text(given, values[given])
            check_text(given, values[given])
        wandb = WandbConfig.from_cfg(values, {"keep_open": True, **scope_settings(*named)}, where="wandb")
        model, task = _read_model(values.get("model"))
        train = _parse_section(values.get("train"), "train")
        for argument, place in MOVED_ARGUMENTS.items():
            if argument in train:
                msg = f"train.{argument}={train[argument]!r}: a job has it in {place}; write it there"
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
            outputs=tuple(Output.parse(each, f"artifacts.outputs[{at}]") for at, each in enumerate(outputs)),
        )


def _parse_section(values: Any, where: str, known: list[str] | None = None) -> dict[str, Any]:
    """Return a section of a job; an empty one where it is missing."""
    if values is None:
        return {}
    if not isinstance(values, dict):
        msg = f"{where}={values!r}: 'name: value' lines are expected" + (f": {', '.join(known)}" if known else "")
        raise ConfigurationError(msg)
    if known:
        check_known_keys(values, known, where)
    missing = next((name for name, value in values.items() if value == OMEGACONF_MISSING), None)
    if missing is not None:
        place = missing if where == "the job" else f"{where}.{missing}"
        msg = f"{place} is {OMEGACONF_MISSING}, to be given by whoever runs the job: {place}=VALUE"
        raise ConfigurationError(msg)
    return dict(values)


def _reject_misplaced_settings(values: Any) -> None:
    """Refuse a setting that stands beside its section."""
    from ultralytics.utils import DEFAULT_CFG_DICT

    settings = {"wandb": [item.name for item in fields(WandbConfig)], "train": list(DEFAULT_CFG_DICT)}
    for name in values if isinstance(values, dict) else ():
        section = next((section for section, known in settings.items() if name in known), None)
        if section and name not in SECTIONS:
            msg = f"the job: {name!r} is unknown; did you mean '{section}.{name}'?"
            raise ConfigurationError(msg)


def _parse_list(values: Any, where: str) -> list[Any]:
    """Return a list of a job; a single value that is no list counts as one."""
    if values is None:
        return []
    if not isinstance(values, (list, str)):
        msg = f"{where}={values!r}: a list is expected, each with a '-' before it"
        raise ConfigurationError(msg)
    return [values] if isinstance(values, str) else values


def _check_text(place: str, value: Any) -> None:
    if value is not None and not isinstance(value, str):
        msg = f"{place}={value!r} is of type {type(value).__name__}; a string is expected"
        raise ConfigurationError(msg)


def _read_model(section: Any) -> tuple[str, str | None]:
    """Return weights and task.

    Raises:
        ConfigurationError: They are missing, or no file that Ultralytics finds or downloads.
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
    """Refuse a model that is neither here nor anywhere that Ultralytics looks."""
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
    """Return the task of a model, from its file or, where it is still to be downloaded, its name; None is unknown."""
    from ultralytics import YOLO
    from ultralytics.nn.tasks import guess_model_task, yaml_model_load

    path = Path(weights)
    with quiet_ultralytics():
        try:
            if path.suffix in {".yaml", ".yml"}:
                return str(guess_model_task(yaml_model_load(weights)))
            if path.exists():
                return str(YOLO(weights).task)
        except Exception:  # noqa: BLE001  # the training says what is wrong with the file
            return None
    named = next((task for ending, task in TASKS_BY_NAME.items() if path.stem.endswith(ending)), None)
    return named or ("detect" if re.fullmatch(r"yolo[v\d]*[a-z]u?", path.stem) else None)


def _find_trainer(name: Any) -> type | None:
    """Return the class that ``train.trainer`` names as ``package.module:Class``."""
    if name is None:
        return None
    from ultralytics.engine.trainer import BaseTrainer

    remedy = "name a trainer class as package.module:Class"
    try:
        found = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        msg = f"train.trainer={name!r}: {error}; {remedy}"
        raise ConfigurationError(msg) from error
    if not (isinstance(found, type) and issubclass(found, BaseTrainer)):
        msg = f"train.trainer={name!r} is no trainer of Ultralytics; {remedy}"
        raise ConfigurationError(msg)
    return found


def _reads_data_itself(trainer: Any) -> bool:
    from ultralytics.engine.trainer import BaseTrainer

    return trainer.get_dataset is not BaseTrainer.get_dataset


def _check_inputs(paths: list[Any]) -> tuple[str, ...]:
    """Return files and folders that can be stored together."""
    by_name: dict[str, str] = {}
    for at, path in enumerate(paths):
        place = f"artifacts.inputs[{at}]"
        _check_text(place, path)
        if not Path(path).exists():
            msg = f"{place}={path!r} does not exist; check the path"
            raise ConfigurationError(msg)
        name = Path(path).resolve().name
        if name in by_name:
            msg = f"{place}={path!r} and {by_name[name]!r} have the same name; give a folder that holds both"
            raise ConfigurationError(msg)
        by_name[name] = path
    return tuple(paths)
