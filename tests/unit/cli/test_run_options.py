"""Options of commands, from the options of a run."""

from __future__ import annotations

from dataclasses import fields

import click
from click.testing import CliRunner

from ultralytics_wb_ddp.cli.run_options import describe_options, run_options
from ultralytics_wb_ddp.config.options import RunOptions


def given(*words: str) -> dict[str, object]:
    """Return the options that a command with all of them gets from a command line."""
    values: dict[str, object] = {}
    command = run_options()(click.Command("all", callback=values.update))
    done = CliRunner().invoke(command, words)
    assert done.exit_code == 0, done.output
    return {name: value for name, value in values.items() if value is not None}


def test_every_option_of_a_run_is_described() -> None:
    described = describe_options()

    assert list(described) == [field.name for field in fields(RunOptions)]
    assert all(text.endswith((".", ".\n")) and "``" not in text for text in described.values())


def test_option_that_is_left_out_is_not_set() -> None:
    assert given() == {}


def test_values_have_the_types_of_the_fields() -> None:
    words = "--project demo --tags a,b --tags c --no-inputs --rank-metrics --mistakes 3 --init-timeout 5 --run-mode new"

    assert given(*words.split()) == {
        "project": "demo",
        "tags": ["a", "b", "c"],
        "inputs": False,
        "rank_metrics": True,
        "mistakes": 3,
        "init_timeout": 5.0,
        "run_mode": "new",
    }


def test_command_may_take_fewer_values_and_describes_no_others() -> None:
    command = run_options("checkpoints", checkpoints=("best", "none"))(click.Command("some"))
    text = " ".join(CliRunner().invoke(command, ["--help"]).output.split())

    assert "--checkpoints [best|none] Which checkpoints become artifacts. best: the best one. none: none." in text
    assert CliRunner().invoke(command, ["--checkpoints", "all"]).exit_code == 2
