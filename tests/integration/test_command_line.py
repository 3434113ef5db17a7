"""The command in a shell: a reader that has gone, and a login that is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from support.jobs import scenario_environment
from support.managers import clean_environment
from support.paths import SCENARIOS
from ultralytics_wb_ddp.cli.main import main


def test_demo_online_without_a_login_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clean_environment(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["demo", "--online"])

    assert done.exit_code == 1
    assert "wandb login" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "to_both"),
    [
        (["-m", "ultralytics_wb_ddp.cli", "--help"], False),
        (["-m", "ultralytics_wb_ddp.cli", "patch", "status"], False),
        (["-m", "ultralytics_wb_ddp.cli", "nothing"], True),
        ([str(SCENARIOS / "commands.py"), "say"], False),
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
            env=scenario_environment(tmp_path, tmp_path, {}),
            stdout=gone,
            stderr=gone if to_both else subprocess.PIPE,
            text=True,
            check=False,
        )

    assert done.returncode == 141
    assert not done.stderr
