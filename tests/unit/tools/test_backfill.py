"""The import of past trainings, before a run is opened."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from ultralytics_wb_ddp.cli.main import main
from ultralytics_wb_ddp.config.options import RunOptions
from ultralytics_wb_ddp.tools.backfill import import_trainings


def test_count_of_one_epoch_is_no_plural(tmp_path: Path) -> None:
    (tmp_path / "args.yaml").write_text("task: detect\nmode: train\nepochs: 1\n")
    (tmp_path / "results.csv").write_text("epoch,time,train/box_loss\n1,10,0.5\n")

    (result,) = import_trainings([str(tmp_path)], RunOptions(), dry_run=True)

    assert result.text.endswith(", 1 epoch, 0 pictures")


def test_nothing_to_import_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_SILENT", "true")  # which the command sets otherwise

    done = CliRunner().invoke(main, ["import", "."])

    assert done.exit_code == 1
    assert "there is no training in .: a training's directory holds results.csv and args.yaml" in done.output
