"""Define the types of settings, with W&B's own rules for them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Container, Iterable, Mapping
from importlib.util import find_spec
from os import PathLike, fspath
from typing import Annotated, Any

from ultralytics_wb_ddp.config.names import (
    MAX_BYTES,
    MAX_LENGTH,
    alias_problem,
    artifact_name_problem,
    link_problem,
)
from ultralytics_wb_ddp.config.s3_path import S3Error, S3Path
from ultralytics_wb_ddp.config.validation import Rule, validate
from ultralytics_wb_ddp.utils.serialization import URL_PATTERN

RESERVED_IN_RUN_ID = ":;,#?/'"  # from wandb.Settings
RESERVED_IN_PROJECT = "/\\#?%:"
RUN_FOLDER_PREFIX_LENGTH = len("offline-run-20260101_120000-")
MAX_TAG_LENGTH = 64
MAX_JOB_TYPE_LENGTH = 64


def _check_run_id(run_id: str) -> str:
    bad = sorted(set(run_id) & set(RESERVED_IN_RUN_ID))
    cause = (
        "a run id cannot be empty or start or end with a space"
        if not run_id or run_id != run_id.strip()
        else f"W&B refuses {' '.join(bad)} in a run id"
        if bad
        else f"a run id has at most {MAX_LENGTH} characters"
        if len(run_id) > MAX_LENGTH
        else f"W&B names a folder after it, and {len(run_id.encode())} bytes are too many for one"
        if len(run_id.encode()) > MAX_BYTES - RUN_FOLDER_PREFIX_LENGTH
        else ""
    )
    if cause:
        remedy = "shorten it" if len(run_id) > MAX_LENGTH and not bad else "use letters, digits, '-', '_' and '.'"
        msg = f"{cause}; {remedy}"
        raise ValueError(msg)
    return run_id


def _check_project(project: str) -> str:
    bad = sorted(set(project) & set(RESERVED_IN_PROJECT))
    if not project.strip():
        msg = "it is empty; name the W&B project that the run belongs to"
    elif bad:
        msg = f"W&B refuses {' '.join(bad)} in a project's name; replace them, by '-' for example"
    elif len(project) > MAX_LENGTH:
        msg = f"a project's name has at most {MAX_LENGTH} characters; shorten it"
    else:
        return project
    raise ValueError(msg)


def _of_length(most: int) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not 0 < len(text.strip()) <= len(text) <= most:
            remedy = "shorten it" if len(text) > most else "leave it out"
            msg = f"it has {len(text)} characters; W&B takes 1 to {most}, {remedy}"
            raise ValueError(msg)
        return text

    return check


def _without(problem_of: Callable[[str], str | None]) -> Callable[[str], str]:
    def check(text: str) -> str:
        if problem := problem_of(text):
            raise ValueError(problem)
        return text

    return check


def _check_uri(uri: str) -> str:
    if not URL_PATTERN.fullmatch(uri):
        msg = "it is no address; give one such as 's3://bucket/shapes', or leave it out"
        raise ValueError(msg)
    return uri


def _check_s3_path(path: str) -> str:
    try:
        S3Path.parse(path)
    except S3Error as error:
        raise ValueError(str(error)) from error
    return path


def _check_boto3(value: str) -> str:
    if find_spec("boto3") is None:
        msg = "boto3 is needed; install it with: pip install 'ultralytics-wb-ddp[s3]'"
        raise ValueError(msg)
    return value


def _check_s3_prefix(prefix: str) -> str:
    store = prefix.rstrip("/")
    _check_s3_path(f"{store}/checkpoint")
    return _check_boto3(store)


def at_least(least: float, most: float = math.inf) -> Callable[[Any], Any]:
    """Return a check of a finite number's bounds, for a :class:`Rule`."""

    def check(number: float) -> float:
        if not least <= number <= most or number == math.inf:
            raise ValueError
        return number

    return check


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else list(value) if isinstance(value, Iterable) else value


Text = Annotated[str, Rule("a string")]
Flag = Annotated[bool, Rule("true or false")]
Count = Annotated[int, Rule("a whole number, 0 or more,", at_least(0))]
Seconds = Annotated[float, Rule("a number of seconds, 1 or more,", at_least(1))]
SecondsOrNone = Annotated[float, Rule("a number of seconds, 0 or more,", at_least(0))]
Directory = Annotated[str, Rule("a path", convert=lambda path: fspath(path) if isinstance(path, PathLike) else path)]
RunId = Annotated[str, Rule("a string", _check_run_id)]
Project = Annotated[str, Rule("a string", _check_project)]
Name = Annotated[str, Rule("a string", _of_length(MAX_LENGTH))]
JobType = Annotated[str, Rule("a string", _of_length(MAX_JOB_TYPE_LENGTH))]
Tag = Annotated[str, Rule("a string", _of_length(MAX_TAG_LENGTH))]
Tags = Annotated[tuple[Tag, ...], Rule("a list of strings", convert=_as_list)]  # a string is one tag
Uri = Annotated[str, Rule("an address", _check_uri)]
S3Object = Annotated[str, Rule("an address such as 's3://bucket/key'", _check_s3_path)]
S3Prefix = Annotated[str, Rule("an address such as 's3://bucket/prefix'", _check_s3_prefix)]
Link = Annotated[str, Rule("a string", _without(link_problem))]
ArtifactName = Annotated[str, Rule("a string", _without(artifact_name_problem))]
Alias = Annotated[str, Rule("a string", _without(alias_problem))]
Aliases = Annotated[tuple[Alias, ...], Rule(convert=_as_list)]  # a string is one alias
UploadedPath = Annotated[str, Rule("a path", _check_boto3)]
VARIABLES: Mapping[str, tuple[str, Any]] = {  # variables that wandb reads if the user does not set the option
    "id": ("WANDB_RUN_ID", RunId),
    "project": ("WANDB_PROJECT", Project),
    "name": ("WANDB_NAME", Name),
    "group": ("WANDB_RUN_GROUP", Name),
    "job_type": ("WANDB_JOB_TYPE", JobType),
    "tags": ("WANDB_TAGS", Tags),
}


def validate_environment(settings: Container[str], env: Mapping[str, str] | None = None) -> None:
    """Refuse values of ``WANDB_*`` variables that are too long or hold a reserved character.

    Args:
        settings: Names of the settings that the user gave. wandb ignores the variables of these.
        env: The environment; by default that of this process.

    Raises:
        ConfigurationError: W&B refuses the value of a variable.
    """
    env = os.environ if env is None else env
    if "ULTRALYTICS_WB_DDP" in env:  # a launcher has set them for a run that W&B accepted
        return
    for name, (variable, kind) in VARIABLES.items():
        if name not in settings and (value := env.get(variable)):
            validate(kind, [tag for tag in value.split(",") if tag] if name == "tags" else value, variable)


def group_of_environment() -> str | None:
    """Return the group of ``EXPERIMENT_GROUP_NAME``, checked; None if it is not set."""
    group = os.environ.get("EXPERIMENT_GROUP_NAME")
    return validate(Name, group, "EXPERIMENT_GROUP_NAME") if group else None
