"""Warnings before a training's first row: of another training's rows in the run, and of a run that is not continued."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from PIL import Image

from ultralytics_wb_ddp.config.options import RunOptions
from ultralytics_wb_ddp.runs.guarded_run import GuardedRun
from ultralytics_wb_ddp.runs.resolution import open_main_run, warn_of_lost_run
from ultralytics_wb_ddp.runs.several_trainings import warn_of_several_trainings
from ultralytics_wb_ddp.wandb_client.run_file import find_run_files


@pytest.fixture
def run(no_s3: None, tmp_path: Path) -> Iterator[Any]:  # noqa: ARG001
    wandb.teardown()
    with wandb.init(project="demo", mode="offline", dir=str(tmp_path)) as run:
        yield run


def test_run_that_several_datasets_are_trained_into_is_doubted(
    run: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session = GuardedRun(run, "adopt", RunOptions())
    session.start(tmp_path / "train")
    warn_of_several_trainings(session, is_resumed=False, datasets=1)
    assert caplog.text.count("one axis") == 0

    warn_of_several_trainings(session, is_resumed=False, datasets=2)
    session.close(0)

    assert f"data= names 2 datasets, and run {run.id} takes the trainings of all of them" in caplog.text


def test_run_that_holds_another_trainings_rows_is_doubted_and_its_best_values_are_dropped(
    run: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = GuardedRun(run, "adopt", RunOptions())
    first.start(tmp_path / "train")
    warn_of_several_trainings(first, is_resumed=False, datasets=1)
    first.log({"train/box_loss": 0.5, "lr/pg0": 0.1, "epoch": 1}, is_best=True)
    first.close(0)
    assert "one axis" not in caplog.text

    second = GuardedRun(run, "adopt", RunOptions())
    second.start(tmp_path / "train2")
    warn_of_several_trainings(second, is_resumed=False, datasets=1)
    second.log({"train/box_loss": 0.7, "lr/pg0": 0.1, "epoch": 1}, is_best=True)
    second.close(0)

    assert f"run {run.id} holds 1 epoch of an earlier training already" in caplog.text
    assert "leave run= out" in caplog.text
    assert run.summary["train/box_loss"]["min"] == pytest.approx(0.7)


def test_resumed_training_whose_run_is_not_known_names_the_new_run(
    run: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_lost_run(GuardedRun(run, "adopt", RunOptions()), "last.pt", tmp_path)
    assert "new run" not in caplog.text

    warn_of_lost_run(GuardedRun(run, "new", RunOptions()), "last.pt", tmp_path)

    assert f"the resumed training goes on in the new run {run.id}: which run holds its first epochs" in caplog.text
    assert "no wandb_run.json beside the checkpoint (last.pt)" in caplog.text
    assert "WANDB_RUN_ID" in caplog.text


@pytest.mark.usefixtures("no_s3")
def test_disabled_run_takes_rows_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    wandb.teardown()
    Image.new("RGB", (8, 8)).save("image.png")
    with wandb.init(project="demo", mode="disabled") as run:
        session = GuardedRun(run, "new", RunOptions(on_error="raise"))
        session.start(tmp_path / "train")
        session.log({"train/box_loss": 0.5, "image": wandb.Image("image.png"), "epoch": 1}, is_best=True)
        session.close(0)

    assert find_run_files(tmp_path) == []
    assert "could not be logged" not in caplog.text


@pytest.mark.usefixtures("no_s3")
def test_disabled_client_is_named_with_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("wandb").mkdir()
    Path("wandb/settings").write_text("[default]\nmode = disabled\n")  # as 'wandb disabled' writes it

    with caplog.at_level(logging.INFO, "ultralytics_wb_ddp"):
        assert open_main_run(None, None, RunOptions(project="demo"), {}, None) is None

    assert "W&B is disabled (W&B's settings on this machine; 'wandb enabled' changes them)" in caplog.text
