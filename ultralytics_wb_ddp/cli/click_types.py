"""The commands of ``ultralytics-wb-ddp``, a file for each: what it is given, what it says, its exit code.

0 is success, 1 what a message explains, 2 a wrong use of the command line, 130 Ctrl-C and 141 an output that nobody
reads any more, as shells have it.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import click


class SuggestingGroup(click.Group):
    """A group that suggests the command which a misspelt one may mean; of click itself only later releases do."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the name of a command, the command, and what is left for it.

        Raises:
            click.UsageError: There is no such command.
        """
        close = get_close_matches(args[0], self.list_commands(ctx), n=1)
        if close and self.get_command(ctx, args[0]) is None and not ctx.resilient_parsing:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {close[0]!r}?")
        return super().resolve_command(ctx, args)


class KeyValueType(click.ParamType):  # type: ignore[type-arg]  # a generic in some releases only
    """The type of an argument such as ``train.epochs=5``.

    Args:
        example: What a message shows.
    """

    name = "key=value"

    def __init__(self, example: str) -> None:
        self._example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the argument as it was given.

        Raises:
            click.BadParameter: It is none.
        """
        key, equals, _ = str(value).partition("=")
        if not equals or not key.strip():
            self.fail(f"{value!r} is no KEY=VALUE, such as {self._example}", param, ctx)
        return str(value)
