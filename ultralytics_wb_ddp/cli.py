"""The command ``ultralytics-wb-ddp``."""

from __future__ import annotations

import os
from importlib import import_module
from keyword import iskeyword
from typing import Any

import click

from ultralytics_wb_ddp import __version__
from ultralytics_wb_ddp.errors import explanation_of

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

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what a user can mend is one sentence, and Ctrl-C has the exit code that shells give it."""
        ctx.color = False if os.environ.get("NO_COLOR") else None  # https://no-color.org
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise SystemExit(130) from None
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if message := explanation_of(error):
                raise click.ClickException(message) from error
            raise


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ultralytics-wb-ddp")
def main() -> None:
    """One W&B run for one Ultralytics training, whatever number of processes it takes."""


if __name__ == "__main__":
    main()
