"""The command: the demo as the README's first command runs it, and its help."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from wandb_server import WandbServer

from support.jobs import NIGHTLY, run_command
from ultralytics_wb_ddp import __version__
from ultralytics_wb_ddp.cli.main import COMMANDS, Commands, main
from ultralytics_wb_ddp.wandb_client.run_file import find_run_files, read_run


def demo(directory: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return run_command(directory, "demo", *arguments, timeout=300, **env)


def test_demo_makes_one_run_and_shows_who_wrote_it(tmp_path: Path) -> None:
    done = demo(tmp_path, "--epochs", "2", "--images", "16")

    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = find_run_files(tmp_path)
    run = read_run(file)
    assert (run.state, run.exit_code) == ("finished", 0)
    assert [row.get("epoch") for row in run.history] == [None, 1, 2, 2, 2, None]
    assert {artifact.type for artifact in run.artifacts} >= {"training-inputs", "model"}
    for words in (
        f"1 run, finished with exit code 0: demo ({run.id})",
        "launcher, before 0 config file, training inputs",
        "1 to 4 epochs 1 to 2",
        "never imported wandb",
        "launcher, after 5 final model",
        f"folder ultralytics_wb_ddp_demo/wandb/{file.parent.name}",
        "leet ultralytics_wb_ddp_demo/wandb/latest-run",
        "sync ultralytics_wb_ddp_demo/wandb/latest-run",
    ):
        assert words in " ".join(done.stdout.split())
    lines = done.stdout.splitlines()
    assert max(len(line) for line in lines[-10:] if "/bin/" not in line) <= 80, "no line is broken in a terminal"
    assert (tmp_path / "ultralytics_wb_ddp_demo/wandb/latest-run").resolve() == file.parent


@NIGHTLY
def test_demo_online_sends_the_run_and_shows_the_same(tmp_path: Path) -> None:
    with WandbServer() as server:
        done = demo(tmp_path, "--online", "--epochs", "2", "--images", "16", **server.environment)
        (run,) = server.runs

    assert done.returncode == 0, done.stdout + done.stderr
    assert [row.get("epoch") for row in run.history] == [None, 1, 2, 2, 2, None]
    assert run.state == "finished"
    for words in (
        f"1 run, finished with exit code 0: demo ({run.id})",
        "launcher, before 0 config file, training inputs",
        "1 to 4 epochs 1 to 2",
        "launcher, after 5 final model",
        f"online {server.url}/team/",
    ):
        assert words in " ".join(done.stdout.split())


def test_demo_online_without_a_login_says_what_to_do(tmp_path: Path) -> None:
    done = demo(tmp_path, "--online")

    assert done.returncode == 1
    assert "wandb login" in done.stderr
    assert "Traceback" not in done.stderr


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


UNFLUSHED = """
import click
from ultralytics_wb_ddp.cli.main import Commands
Commands.get_command = lambda *_: click.Command("say", callback=lambda: print("words"))
Commands("tool").main(["say"])
"""


@pytest.mark.parametrize(
    ("arguments", "to_both"),
    [
        (["-m", "ultralytics_wb_ddp.cli", "--help"], False),
        (["-m", "ultralytics_wb_ddp.cli", "patch", "status"], False),
        (["-m", "ultralytics_wb_ddp.cli", "nothing"], True),
        (["-c", UNFLUSHED], False),
    ],
    ids=["help", "echo", "error", "print"],
)
def test_reader_that_has_gone_ends_a_command_silently(tmp_path: Path, arguments: list[str], *, to_both: bool) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as gone:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            stdout=gone,
            stderr=gone if to_both else subprocess.PIPE,
            text=True,
            check=False,
        )

    assert done.returncode == 141
    assert not done.stderr


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
