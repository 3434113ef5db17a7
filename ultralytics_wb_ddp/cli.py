"""The command ``ultralytics-wb-ddp``."""

from __future__ import annotations

from importlib import import_module
from keyword import iskeyword

import click

from ultralytics_wb_ddp import __version__

__all__ = ["main"]

# As they are listed.
COMMANDS = ("demo", "train", "sweep", "doctor", "sync", "download", "import", "resume", "prune", "patch")


class Commands(click.Group):
    """A group whose commands are loaded when they are needed: each is a file of ``commands/``, named as it is."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        name = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name
        command: click.Command = getattr(import_module(f"ultralytics_wb_ddp.commands.{name}"), name)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ultralytics-wb-ddp")
def main() -> None:
    """One W&B run for one Ultralytics training, whatever number of processes it takes."""


if __name__ == "__main__":
    main()
