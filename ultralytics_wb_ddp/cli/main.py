"""The command ``ultralytics-wb-ddp``."""

from __future__ import annotations

import os
import select
import sys
from importlib import import_module
from keyword import iskeyword
from typing import Any, TextIO

import click

from ultralytics_wb_ddp import __version__
from ultralytics_wb_ddp.cli.click_types import SuggestingGroup
from ultralytics_wb_ddp.utils.errors import user_message

# In the order of --help.
COMMANDS = ("demo", "run", "train", "sweep", "doctor", "sync", "download", "import", "resume", "prune", "patch")
BROKEN_PIPE_EXIT_CODE = 141  # 128 and the number of SIGPIPE


class Commands(SuggestingGroup):
    """Group that loads each subcommand from its file on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's
        """Return the names of the subcommands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return a subcommand; None if its name is unknown."""
        if cmd_name not in COMMANDS:
            return None
        name = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name
        command: click.Command = getattr(import_module(f"ultralytics_wb_ddp.cli.{name}"), name)
        return command

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line.

        If the reader of an output pipe has closed it, as ``| head`` does, the command ends silently.
        """
        output = sys.stdout
        streams = [stream for stream in (output, sys.stderr) if stream]
        try:
            try:
                return super().main(*args, **kwargs)
            except SystemExit:
                # click has replaced sys.stdout; it exits with 1.
                if sys.stdout is not output and any(map(_is_broken_pipe, streams)):
                    raise BrokenPipeError from None
                for stream in streams:  # the output of print() may still be in the buffer
                    stream.flush()
                raise
        except BrokenPipeError:
            # Otherwise Python reports at its exit what it could not write.
            for stream in filter(_is_broken_pipe, streams):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            raise SystemExit(BROKEN_PIPE_EXIT_CODE) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command.

        An error that the user can fix is printed as one sentence. Ctrl-C ends with exit code 130, as in shells.
        """
        ctx.color = False if os.environ.get("NO_COLOR") else None  # https://no-color.org
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise SystemExit(130) from None
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if isinstance(error, BrokenPipeError) and any(map(_is_broken_pipe, (sys.stdout, sys.stderr))):
                raise
            if message := user_message(error):
                raise click.ClickException(message) from error
            raise


def _is_broken_pipe(stream: TextIO) -> bool:
    """Return whether a stream is a pipe whose reader has closed it."""
    try:
        pipe = select.poll()
        pipe.register(stream.fileno(), 0)  # poll() always reports errors
        return bool(pipe.poll(0))
    except (AttributeError, OSError):  # a system without poll(), a stream without a file
        return False


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ultralytics-wb-ddp")
def main() -> None:
    """One W&B run for one Ultralytics training, no matter how many processes."""
