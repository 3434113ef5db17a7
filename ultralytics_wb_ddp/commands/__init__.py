"""The commands of ``ultralytics-wb-ddp``, a file for each: what it is given, what it says, its exit code.

0 is success, 1 what a message explains, 2 a wrong use of the command line, 130 Ctrl-C, as shells have it.
"""

from __future__ import annotations

from typing import Any

import click

__all__ = ["KeyValue"]


class KeyValue(click.ParamType):  # type: ignore[type-arg]  # a generic in some releases only
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
