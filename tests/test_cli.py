"""The command: the demo as the README's first command runs it, and its help."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from conftest import job_environment
from ultralytics_wb_ddp import __version__
from ultralytics_wb_ddp.cli import main
from ultralytics_wb_ddp.testing import find_run_files, read_run


def test_demo_makes_one_run_and_shows_who_wrote_it(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "yolo").mkdir()
    done = subprocess.run(
        [Path(sys.executable).with_name("ultralytics-wb-ddp"), "demo", "--epochs", "2", "--images", "16"],
        cwd=tmp_path,
        env=job_environment(tmp_path, tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

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
        f"leet ultralytics_wb_ddp_demo/wandb/{file.parent.name}",
        f"sync ultralytics_wb_ddp_demo/wandb/{file.parent.name}",
    ):
        assert words in " ".join(done.stdout.split())


def test_demo_online_without_a_login_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    done = subprocess.run(
        [Path(sys.executable).with_name("ultralytics-wb-ddp"), "demo", "--online"],
        cwd=tmp_path,
        env=job_environment(tmp_path, tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.returncode == 1
    assert "wandb login" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"]])
def test_help_of_every_command(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, arguments)

    assert result.exit_code == 0
    assert all(command.help for command in main.commands.values())


def test_version() -> None:
    assert __version__ in CliRunner().invoke(main, ["--version"]).output
