"""Make options of commands from the fields of :class:`RunOptions`, with their types and descriptions."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

import click

from ultralytics_wb_ddp.config.options import RunOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def run_options(*names: str, **choices: Sequence[str]) -> Callable[[Any], Any]:
    """Return a decorator that adds options to a command. An option that the user leaves out is None.

    Args:
        *names: Fields of :class:`RunOptions`; without any, all of them.
        **choices: By field, the values that the command takes, if it does not take all of them.
    """

    def decorate(command: Any) -> Any:
        for name in reversed(names or [field.name for field in fields(RunOptions)]):
            command = _option(name, choices.get(name))(command)
        return command

    return decorate


def _option(name: str, choices: Sequence[str] | None) -> Callable[[Any], Any]:
    default = next(field.default for field in fields(RunOptions) if field.name == name)
    hint = get_type_hints(RunOptions)[name]
    kind = next(each for each in get_args(hint) if each is not type(None)) if _is_optional(hint) else hint
    flag, description = f"--{name.replace('_', '-')}", describe_options()[name]
    if kind is bool:
        flag = f"{flag}/--no-{name.replace('_', '-')}"
        description = f"{description} On by default." if default else description
    elif default is not None:
        description = (
            f"{description} By default {default:g}." if kind in {int, float} else f"{description} By default {default}."
        )
    if get_origin(kind) is tuple:
        return click.option(
            flag, name, multiple=True, callback=_split_at_commas, help=f"{description} Separate them by commas."
        )
    if get_origin(kind) is Literal:
        choices = choices or get_args(kind)
        for other in set(get_args(kind)) - {*choices}:
            description = re.sub(rf"(?<= ){re.escape(other)}: [^.]*\. ?", "", description)
        return click.option(flag, name, type=click.Choice([*choices]), help=description.strip())
    return click.option(flag, name, type=kind, default=None, help=description)


def _is_optional(hint: Any) -> bool:
    return type(None) in get_args(hint)


def _split_at_commas(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> list[str] | None:
    words = [word.strip() for value in values for word in value.split(",")]
    return [word for word in words if word] or None


def describe_options() -> dict[str, str]:
    """Return the descriptions of the options by name, as plain text, from the docstring of :class:`RunOptions`."""
    _, _, section = (inspect.getdoc(RunOptions) or "").partition("Attributes:\n")
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE)
    return {name: " ".join(re.sub(r"``\"?|\"?``", "", text).split()) for name, text in entries}
