"""Types of click that the commands share.

The exit codes of all commands are those of shells: 0 for success, 1 for an error that a message explains, 2 for a wrong
use of the command line, 130 for Ctrl-C, and 141 for an output pipe whose reader has closed it.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import click


class SuggestingGroup(click.Group):
    """A group that suggests the nearest command for a misspelt one.

    Only later releases of click do so themselves.
    """

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the name of a command, the command, and its remaining arguments."""
        close = get_close_matches(args[0], self.list_commands(ctx), n=1)
        if close and self.get_command(ctx, args[0]) is None and not ctx.resilient_parsing:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {close[0]!r}?")
        return super().resolve_command(ctx, args)


class KeyValueType(click.ParamType):  # type: ignore[type-arg]  # generic in some releases only
    """Type of an argument such as ``train.epochs=5``. The error message shows an example."""

    name = "key=value"

    def __init__(self, example: str) -> None:
        self._example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the argument unchanged if it has a key and ``=``."""
        key, equals, _ = str(value).partition("=")
        if not equals or not key.strip():
            self.fail(f"{value!r} is no KEY=VALUE, such as {self._example}", param, ctx)
        return str(value)
