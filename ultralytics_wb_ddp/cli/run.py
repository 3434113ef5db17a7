"""``ultralytics-wb-ddp run``: run a command whose trainings are logged."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from ultralytics_wb_ddp.cli.run_options import run_options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


NOT_FOUND_EXIT_CODE, NOT_EXECUTABLE_EXIT_CODE = 127, 126  # as in shells
IGNORED_BY_PYTHON = ("SIGPIPE", "SIGXFZ", "SIGXFSZ")  # signals that a program that Python starts expects to be usual


class RunCommand(click.Command):
    """Command that explains an option of a manager, such as ``--api-key``, that it does not take."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line."""
        from ultralytics_wb_ddp.config.validation import MANAGER_OPTIONS

        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if explanation := MANAGER_OPTIONS.get(error.option_name.lstrip("-").replace("-", "_")):
                msg = f"{error.option_name} has no place here: {explanation}"
                raise click.UsageError(msg, ctx) from error
            raise


class CommandError(click.ClickException):
    """Error for a command that cannot be executed, with the exit code that shells have for it."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click's is of the class


@click.command(cls=RunCommand, context_settings={"allow_interspersed_args": False})
@run_options()
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML file with these options, in a section 'wandb' or at its top. The command line wins over it.",
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="-- COMMAND...")
def run(command: tuple[str, ...], config: Path | None, **values: Any) -> NoReturn:
    """Run a command and log its Ultralytics trainings.

    No code is changed. COMMAND is any command, such as: yolo detect train data=coco8.yaml device=0,1. Each training in
    it and in the Python processes that it starts is one W&B run. WANDB_RUN_ID and WANDB_PROJECT name a run to continue.
    The API key is in WANDB_API_KEY, or stored by 'wandb login'. The exit code is that of the command, 127 if it is not
    found and 126 if it cannot be executed.
    """
    from ultralytics_wb_ddp.config.options import merge
    from ultralytics_wb_ddp.instrumentation.environment import autolog_variables, options_from_environment
    from ultralytics_wb_ddp.instrumentation.isolated_python import isolation_of

    if not command:
        msg = "there is no command; write it after --, as in: ultralytics-wb-ddp run -- yolo train data=coco8.yaml"
        raise click.UsageError(msg)
    options = merge(read_options(values, config), options_from_environment() or {})
    if reason := isolation_of(command):
        msg = "ultralytics_wb_ddp: WARNING: {}: its trainings are not logged, because Python's {}; leave the option out"
        click.echo(msg.format(" ".join(command), reason), err=True)
    _execute(command, {**os.environ, **autolog_variables(options)})


def read_options(values: Mapping[str, Any], config: Path | None) -> dict[str, Any]:
    """Return the options of the command line and of a YAML file, which the command line overrides.

    Raises:
        ConfigurationError: An option is unknown or wrong, or the file cannot be read.
    """
    from ultralytics_wb_ddp.config.options import OMEGACONF_MISSING, RunOptions, merge
    from ultralytics_wb_ddp.config.validation import SECTION, ConfigurationError
    from ultralytics_wb_ddp.config.yaml_file import read_config, yaml_errors_as_user_errors
    from ultralytics_wb_ddp.runs.resolution import logging_ranks
    from ultralytics_wb_ddp.utils.serialization import to_plain

    layers = [RunOptions.parse_layer(values, "--")]
    if config:
        with yaml_errors_as_user_errors(config):
            content = to_plain(read_config(config), resolve=True)
        where, section = ("wandb", content["wandb"]) if "wandb" in content else (str(config), content)
        if not isinstance(section, dict):
            msg = f"{config}: wandb={section!r}: {SECTION} is expected, such as 'project: demo'"
            raise ConfigurationError(msg)
        given = {name: value for name, value in section.items() if value != OMEGACONF_MISSING}
        layers.append(RunOptions.parse_layer(given, where))
    options = merge(*layers)
    logging_ranks(RunOptions(**options), None, os.environ)  # refuses a run mode that cannot work
    return options


def _execute(command: Sequence[str], env: Mapping[str, str]) -> NoReturn:
    """Replace this process by a command, whose exit code and signals are then its own."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    try:
        if os.name == "nt":  # no process can be replaced there
            raise SystemExit(subprocess.run(command, env=env, check=False).returncode)  # noqa: S603  # the user's
        for name in IGNORED_BY_PYTHON:
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_DFL)
        os.execvpe(command[0], [*command], env)  # noqa: S606  # the same
    except OSError as error:
        _fail(command[0], error)


def _fail(program: str, error: OSError) -> NoReturn:
    """Report a command that cannot be executed, with the exit code that shells have for it."""
    exit_code, found = NOT_EXECUTABLE_EXIT_CODE, shutil.which(program, os.F_OK)
    if not isinstance(error, FileNotFoundError):
        text = f"cannot be executed ({error.strerror}); make it executable, or put its interpreter in front of it"
    elif found:
        text = "cannot be executed: the interpreter that its first line names is not there; put another in front of it"
    else:
        exit_code = NOT_FOUND_EXIT_CODE
        place = "does not exist" if os.sep in program else "is not found in PATH"
        text = f"{place}; check its spelling, or activate the environment that has it"
    msg = f"{program!r} {text}"
    raise CommandError(msg, exit_code)
