"""The command: its help, and what it says of a word that it does not know."""

from __future__ import annotations

import errno

import click
import pytest
from click.testing import CliRunner

from ultralytics_wb_ddp import __version__
from ultralytics_wb_ddp.cli.main import COMMANDS, Commands, main


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"], ["download", "--help"]])
def test_help_of_every_command(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, arguments)

    assert result.exit_code == 0
    assert all(command.help for command in main.commands.values())


@pytest.mark.parametrize("arguments", [[], ["patch"]])
def test_what_commands_do_fits_into_a_terminal_of_80_columns(arguments: list[str]) -> None:
    listed = CliRunner().invoke(main, [*arguments, "--help"], terminal_width=80).output.partition("Commands:\n")[2]

    assert len(listed.splitlines()) == (3 if arguments else len(COMMANDS))
    assert all(line.endswith(".") and not line.endswith("...") for line in listed.splitlines()), listed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], "No such command 'trian'. Did you mean 'train'?"),
        (["patch", "aply"], "No such command 'aply'. Did you mean 'apply'?"),
        (["xyz"], "No such command 'xyz'."),
    ],
)
def test_misspelt_command_gets_a_suggestion(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(main, arguments)

    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1] == f"Error: {said}"


def test_pipe_that_breaks_elsewhere_is_said() -> None:
    @click.command()
    def failing() -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    class WithFailing(Commands):
        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:  # noqa: ARG002
            return failing

    done = CliRunner().invoke(WithFailing("tool"), ["failing"])

    assert done.exit_code == 1
    assert "Broken pipe" in done.stderr


def test_version() -> None:
    assert __version__ in CliRunner().invoke(main, ["--version"]).output
