"""A YAML file read as a config, with what the command line puts over it; what is wrong with it is said in words."""

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
    """Return an OmegaConf config; its interpolations are left as they are.

    Args:
        file: A YAML file.
        overrides: ``key=value``, with dots between the keys of nested sections; they win over the file.

    Raises:
        ConfigurationError: The file is no YAML mapping, or an override is no ``key=value`` or gives a secret away.
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


def _secrets_in(values: Any, place: str = "") -> Iterator[str]:
    """Yield where secrets stand, other than as interpolations."""
    for key, value in values.items() if isinstance(values, dict) else enumerate(values):
        at = f"{place}.{key}" if place else str(key)
        if isinstance(value, (dict, list)):
            yield from _secrets_in(value, at)
        elif is_secret_key(key) and value is not None and "${" not in str(value):
            yield at


@contextmanager
def yaml_errors_as_user_errors(file: Path) -> Iterator[None]:
    """Say what is wrong with a file, or with a value of it when it is resolved, and quote none: it may hold a key.

    Raises:
        ConfigurationError: Something is wrong with it.
    """
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        yield
    except (OmegaConfBaseException, YAMLError, OSError, UnicodeDecodeError) as problem:
        line, reason = None, type(problem).__name__
        if isinstance(problem, YAMLError):
            line, reason = describe_yaml_error(problem, file.read_text(encoding="utf-8", errors="replace"))
        place = f", line {line}" if line else ""
        key = getattr(problem, "full_key", None)
        setting = f", setting {key}" if key else ""
        missing = re.search(r"(Environment variable|Interpolation key) '([^']*)' not found", str(problem))
        what = {"Environment variable": "set the variable {0}", "Interpolation key": "there is no {0}"}
        remedy = what[missing[1]].format(missing[2]) if missing else _remedy(problem)
        msg = f"{file}{place}{setting} cannot be read ({reason}); {remedy}"
        raise ConfigurationError(msg) from problem


def describe_yaml_error(problem: YAMLError, text: str) -> tuple[int | None, str]:
    """Return the line in which a YAML is wrong, from 1, and the reason; of what stands there, one character at most.

    Args:
        problem: What PyYAML has raised.
        text: The YAML.
    """
    import yaml

    try:  # PyYAML's own parser says more than the one in C that OmegaConf takes, such as which character is wrong
        for _ in yaml.parse(text, Loader=yaml.SafeLoader):
            pass
    except yaml.YAMLError as error:
        problem = error
    mark, start = getattr(problem, "problem_mark", None), getattr(problem, "context_mark", None)
    reason = getattr(problem, "problem", None) or getattr(problem, "reason", None) or type(problem).__name__
    reason = reason.partition(", but")[0].partition(" for the tag")[0].replace("could not find expected", "expected")
    if not mark:
        return None, reason
    if start and "simple key" in problem.context:  # the key is noticed to be none in the next line
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
