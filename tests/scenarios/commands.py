"""A command that prints by Python's own means."""

from __future__ import annotations

import click

from scenarios.calls import run_named
from ultralytics_wb_ddp.cli.main import Commands


class Saying(Commands):
    """A group with one command, which leaves its words in the buffer of the output."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:  # noqa: ARG002
        return click.Command("say", callback=lambda: print("words"))


def say() -> None:
    Saying("tool").main(["say"])


if __name__ == "__main__":
    run_named(globals())
