"""Check values that users write, by W&B's own rules.

The functions raise :class:`ConfigurationError` for a value that is of another type or outside of the rules.
"""

from __future__ import annotations

import difflib
import math
import os
import sys
from collections.abc import Callable, Container, Iterable, Mapping
from importlib.util import find_spec
from typing import Any, NoReturn

from ultralytics_wb_ddp.config.names import MAX_BYTES, MAX_LENGTH, link_problem
from ultralytics_wb_ddp.config.s3_path import S3Error, S3Path
from ultralytics_wb_ddp.utils.errors import UserError
from ultralytics_wb_ddp.utils.serialization import URL_PATTERN, is_secret_key

MANAGER_OPTIONS = {  # options that a callback does not take
    "id": "wandb.init(id=...) makes a run of this id, to be given as run=; a manager and a job take it in cfg.wandb.id",
    "api_key": "set WANDB_API_KEY or call 'wandb login'; a manager and a job take it in cfg.wandb.api_key",
    "keep_open": "a manager and a job take it in cfg.wandb.keep_open",
    "resume": "it is an argument of the training: model.train(resume=True) continues the run as well",
    "config": "the training's arguments are in the run's config by themselves; add others with run.config.update(...)",
    "experiment_group_name": "the name here is group",
}
RESERVED_IN_RUN_ID = ":;,#?/'"  # from wandb.Settings
RESERVED_IN_PROJECT = "/\\#?%:"
RUN_FOLDER_PREFIX_LENGTH = len("offline-run-20260101_120000-")
MAX_TAG_LENGTH = 64
MAX_JOB_TYPE_LENGTH = 64


class ConfigurationError(UserError, ValueError):
    """A setting that cannot work."""


def check_run_id(run_id: str, where: str) -> str:
    """Return a run id that W&B accepts.

    It has 1 to 128 characters, no space at its start or end, and no reserved character.
    """
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
        msg = f"{where}={run_id!r}: {cause}; {remedy}"
        raise ConfigurationError(msg)
    return run_id


def check_known_keys(names: Iterable[Any], known: list[str], where: str) -> None:
    """Refuse unknown settings. The message suggests the nearest known one."""
    for name in names:
        if name not in known:
            if explanation := explain_misplaced_option(name, known):
                msg = f"{where}: {name!r} has no place here: {explanation}"
                raise ConfigurationError(msg)
            close = difflib.get_close_matches(str(name), known, n=1)
            remedy = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
            msg = f"{where}: {name!r} is unknown; {remedy}"
            raise ConfigurationError(msg)


def explain_misplaced_option(name: Any, known: list[str]) -> str | None:
    """Return an explanation where an unknown setting belongs, or None."""
    if "run_mode" not in known:
        return None
    if name in MANAGER_OPTIONS:
        return MANAGER_OPTIONS[name]
    module = sys.modules.get("ultralytics.utils")  # not imported before a training
    is_argument = str(name) in getattr(module, "DEFAULT_CFG_DICT", ())
    return f"it is an argument of the training: model.train({name}=...), train.{name} in a job" if is_argument else None


def check_choice(setting: str, value: str, allowed: tuple[str, ...]) -> str:
    """Return a value that is one of the allowed ones."""
    if value in allowed:
        return value
    remedy = "use run_mode='shared'" if value == "shared" else f"choose one of {', '.join(allowed)}"
    msg = f"{setting}={value!r} is unknown; {remedy}"
    raise ConfigurationError(msg)


def check_seconds(setting: str, value: Any, *, least: float) -> float:
    """Return a finite number of seconds as a float, from a minimum on."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value < math.inf:
        msg = f"{setting}={value!r}: a number of seconds, {least:g} or more, is expected"
        raise ConfigurationError(msg)
    return float(value)


def check_tags(setting: str, value: Any) -> tuple[str, ...]:
    """Return tags of 1 to 64 characters as a tuple. A string is one tag."""
    tags = [value] if isinstance(value, str) else list(value) if isinstance(value, Iterable) else [value]
    if not all(isinstance(tag, str) for tag in tags):
        msg = f"{setting}={value!r}: tags are a list of strings"
        raise ConfigurationError(msg)
    for tag in tags:
        if not 0 < len(tag) <= MAX_TAG_LENGTH:
            remedy = "shorten it" if tag else "leave it out"
            msg = f"{setting}: {tag!r} has {len(tag)} characters; W&B takes tags of 1 to {MAX_TAG_LENGTH}, {remedy}"
            raise ConfigurationError(msg)
    return tuple(tags)


def check_text(setting: str, value: str, *, length: int = MAX_LENGTH) -> str:
    """Return a text, such as a group, of 1 to ``length`` characters."""
    if not 0 < len(value.strip()) <= len(value) <= length:
        remedy = "shorten it" if len(value) > length else "leave it out or name it"
        msg = f"{setting}={value!r} has {len(value)} characters; W&B takes 1 to {length}, {remedy}"
        raise ConfigurationError(msg)
    return value


def check_job_type(setting: str, value: str) -> str:
    """Return the job type of a run, of 1 to 64 characters."""
    return check_text(setting, value, length=MAX_JOB_TYPE_LENGTH)


def group_of_environment() -> str | None:
    """Return the group of ``EXPERIMENT_GROUP_NAME``, checked; None if it is not set."""
    group = os.environ.get("EXPERIMENT_GROUP_NAME")
    return check_text("EXPERIMENT_GROUP_NAME", group) if group else None


def check_environment(settings: Container[str], env: Mapping[str, str] | None = None) -> None:
    """Refuse values of ``WANDB_*`` variables that are too long or hold a reserved character.

    wandb ignores the variables of the ``settings`` that the user set.
    """
    env = os.environ if env is None else env
    if "ULTRALYTICS_WB_DDP" in env:  # a launcher has set them for a run that W&B accepted
        return
    for name, (variable, check) in ENVIRONMENT_CHECKS.items():
        if name not in settings and env.get(variable):
            check(variable, env[variable])


def check_bool(setting: str, value: Any) -> bool:
    """Return a boolean."""
    if not isinstance(value, bool):
        msg = f"{setting}={value!r}: true or false is expected"
        raise ConfigurationError(msg)
    return value


def check_non_negative_int(setting: str, value: Any) -> int:
    """Return a whole number, 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        msg = f"{setting}={value!r}: a whole number, 0 or more, is expected"
        raise ConfigurationError(msg)
    return value


def check_project(setting: str, value: str) -> str:
    """Return the name of a project, of 1 to 128 characters and without a reserved character."""
    bad = sorted(set(value) & set(RESERVED_IN_PROJECT))
    if not value.strip():
        msg = f"{setting}={value!r} is empty; name the W&B project that the run belongs to"
    elif bad:
        msg = f"{setting}={value!r}: W&B refuses {' '.join(bad)} in a project's name; replace them, by '-' for example"
    elif len(value) > MAX_LENGTH:
        msg = f"{setting}={value!r}: a project's name has at most {MAX_LENGTH} characters; shorten it"
    else:
        return value
    raise ConfigurationError(msg)


def check_uri(setting: str, value: str) -> str:
    """Return an address such as ``s3://bucket/shapes``."""
    if not URL_PATTERN.fullmatch(value):
        msg = f"{setting}={value!r} is no address; give one such as 's3://bucket/shapes', or leave it out"
        raise ConfigurationError(msg)
    return value


def check_s3_prefix(setting: str, value: str) -> str:
    """Return the S3 prefix for checkpoints, without a slash at its end. It needs boto3."""
    store = value.rstrip("/")
    try:
        S3Path.parse(f"{store}/checkpoint")
    except S3Error as error:
        msg = f"{setting}={value!r}: {error}"
        raise ConfigurationError(msg) from error
    if find_spec("boto3") is None:
        msg = f"{setting}={value!r} needs boto3; install it with: pip install 'ultralytics-wb-ddp[s3]'"
        raise ConfigurationError(msg)
    return store


def check_link(setting: str, value: str) -> str:
    """Return a link target in W&B's registry or in a portfolio."""
    if problem := link_problem(value):
        msg = f"{setting}={value!r}: {problem}"
        raise ConfigurationError(msg)
    return value


def raise_type_error(setting: str, value: Any) -> NoReturn:
    """Refuse a value that is no string. The message shows no secret."""
    shown = "" if is_secret_key(setting) else f"={value!r}"
    msg = f"{setting}{shown} is of type {type(value).__name__}; a string is expected"
    raise ConfigurationError(msg)


# Variables that wandb reads if the user does not set the option.
ENVIRONMENT_CHECKS: Mapping[str, tuple[str, Callable[[str, str], Any]]] = {
    "id": ("WANDB_RUN_ID", lambda variable, value: check_run_id(value, variable)),
    "project": ("WANDB_PROJECT", check_project),
    "name": ("WANDB_NAME", check_text),
    "group": ("WANDB_RUN_GROUP", check_text),
    "job_type": ("WANDB_JOB_TYPE", check_job_type),
    "tags": ("WANDB_TAGS", lambda variable, value: check_tags(variable, filter(None, value.split(",")))),
}
