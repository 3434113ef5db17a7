"""A job whose training cannot begin."""

from __future__ import annotations

from pathlib import Path

import pytest
import wandb
from click.testing import CliRunner

from support.example_job import EXAMPLE, ONE_PROCESS, SMALL, runs_below
from support.managers import clean_environment
from ultralytics_wb_ddp.cli.main import main


def test_failed_training_is_a_failed_run_and_exit_code_without_a_stack_trace(
    tmp_path: Path, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean_environment(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)
    incomplete = tmp_path / "incomplete.yaml"
    incomplete.write_text(shapes.read_text().replace("train: images/train", "train: images/nowhere"), encoding="utf-8")
    places = [f"train.data={incomplete}", f"train.project={tmp_path / 'runs'}"]

    done = CliRunner().invoke(main, ["train", str(EXAMPLE), *SMALL, *places, *ONE_PROCESS])

    assert done.exit_code == 1
    assert "Error: FileNotFoundError: " in done.stderr
    assert "images/nowhere" in done.stderr.partition("Error: FileNotFoundError: ")[2]
    assert "Traceback" not in done.stderr
    wandb.teardown()  # finish() does not wait for the file to be written
    (run,) = runs_below(tmp_path)
    assert (run.state, run.exit_code) == ("failed", 1)
