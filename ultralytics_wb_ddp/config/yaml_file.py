"""Read a YAML file and the command line's overrides as a config."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config.validation import ConfigurationError
from ultralytics_wb_ddp.utils.serialization import is_secret_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from yaml import YAMLError


def read_config(file: Path, overrides: Sequence[str] = ()) -> Any:
    """Return an OmegaConf config with its interpolations unresolved.

    Overrides are ``key=value``, with dots between the keys of nested sections. They win over the file.

    Raises:
        ConfigurationError: The file is no YAML mapping, or an override is no ``key=value`` or contains a secret.
    """
    from omegaconf import DictConfig, OmegaConf

    with yaml_errors_as_user_errors(file):
        config = OmegaConf.load(file)
        if not isinstance(config, DictConfig):
            msg = f"{file} holds no sections; write 'name: value' lines"
            raise ConfigurationError(msg)
    over = [_read_override(override) for override in overrides]
    with yaml_errors_as_user_errors(file):
        return OmegaConf.merge(config, *over)


def _read_override(override: str) -> Any:
    from omegaconf import OmegaConf
    from yaml import YAMLError

    key, equals, value = override.partition("=")
    if not equals or not key.strip():
        msg = f"{override!r} is no KEY=VALUE, such as train.epochs=5"
        raise ConfigurationError(msg)
    try:
        parsed = OmegaConf.from_dotlist([override])
        secret = next(_secrets_in(OmegaConf.to_container(parsed)), None)
    except Exception as error:
        reason = describe_yaml_error(error, value)[1] if isinstance(error, YAMLError) else type(error).__name__
        msg = f"the value of {key} cannot be read ({reason}); it is YAML, as in 'wandb.tags=[a,b]'"
        raise ConfigurationError(msg) from error
    if secret:  # W&B stores the command line with the run
        instead = f"{secret}='${{oc.env:{re.sub(r'[^A-Za-z0-9]', '_', secret).upper()}}}'"
        msg = f"{secret}=... on the command line can be seen by others; set a variable and write {instead}"
        raise ConfigurationError(msg)
    return parsed


def _secrets_in(values: Any, parent: str = "") -> Iterator[str]:
    """Yield the dotted keys of secrets. An interpolation is no secret."""
    for key, value in values.items() if isinstance(values, dict) else enumerate(values):
        full_key = f"{parent}.{key}" if parent else str(key)
        if isinstance(value, (dict, list)):
            yield from _secrets_in(value, full_key)
        elif is_secret_key(key) and value is not None and "${" not in str(value):
            yield full_key


@contextmanager
def yaml_errors_as_user_errors(file: Path) -> Iterator[None]:
    """Raise a ConfigurationError for errors of a YAML file or its interpolations.

    The message quotes no value: it may be an API key.
    """
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        yield
    except (OmegaConfBaseException, YAMLError, OSError, UnicodeDecodeError) as problem:
        line, reason = None, type(problem).__name__
        if isinstance(problem, YAMLError):
            line, reason = describe_yaml_error(problem, file.read_text(encoding="utf-8", errors="replace"))
        position = f", line {line}" if line else ""
        key = getattr(problem, "full_key", None)
        setting = f", setting {key}" if key else ""
        missing = re.search(r"(Environment variable|Interpolation key) '([^']*)' not found", str(problem))
        remedies = {"Environment variable": "set the variable {0}", "Interpolation key": "there is no {0}"}
        remedy = remedies[missing[1]].format(missing[2]) if missing else _remedy(problem)
        msg = f"{file}{position}{setting} cannot be read ({reason}); {remedy}"
        raise ConfigurationError(msg) from problem


def describe_yaml_error(problem: YAMLError, text: str) -> tuple[int | None, str]:
    """Return the line number of a YAML error, counted from 1, and its reason.

    The reason quotes one character of the YAML at most: a value may be an API key.
    """
    import yaml

    try:  # PyYAML's own parser reports more than OmegaConf's parser in C, such as the wrong character
        for _ in yaml.parse(text, Loader=yaml.SafeLoader):
            pass
    except yaml.YAMLError as error:
        problem = error
    mark, start = getattr(problem, "problem_mark", None), getattr(problem, "context_mark", None)
    reason = getattr(problem, "problem", None) or getattr(problem, "reason", None) or type(problem).__name__
    reason = reason.partition(", but")[0].partition(" for the tag")[0].replace("could not find expected", "expected")
    if not mark:
        return None, reason
    if start and "simple key" in problem.context:  # the parser notices the wrong key only in the next line
        return start.line + 1, reason
    begin = f" for what begins in line {start.line + 1}" if start and start.line != mark.line else ""
    return mark.line + 1, f"{reason}{begin}"


def _remedy(problem: Exception) -> str:
    from yaml import YAMLError

    if isinstance(problem, YAMLError):
        return "mend the YAML"
    if isinstance(problem, UnicodeDecodeError):
        return "save it as UTF-8"
    return "check the path" if isinstance(problem, OSError) else "mend the setting, or what it refers to"
