"""Trainings that can be resumed, are over or have not begun."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from support.past_trainings import CUT_OFF, STRIPPED, save_checkpoint
from ultralytics_wb_ddp import ConfigurationError, TrainingState
from ultralytics_wb_ddp.artifacts import training_state
from ultralytics_wb_ddp.artifacts.checkpoint_metadata import Progress
from ultralytics_wb_ddp.runs.run_record import RunRecord


@pytest.fixture
def training(tmp_path: Path) -> Path:
    (tmp_path / "weights").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("content", "can_be_resumed", "is_over"),
    [
        pytest.param(CUT_OFF, True, False, id="cut-off"),
        pytest.param({**CUT_OFF, "epoch": 2}, False, True, id="killed-after-the-last-epoch"),
        pytest.param(STRIPPED, False, True, id="stripped"),
        pytest.param({**CUT_OFF, "optimizer": None}, False, True, id="without-optimizer"),
        pytest.param({"epoch": 7, "optimizer": {}}, True, False, id="epochs-unknown"),
    ],
)
def test_training_can_be_resumed_or_is_over(
    training: Path, content: dict[str, Any], *, can_be_resumed: bool, is_over: bool
) -> None:
    save_checkpoint(content, training)

    state = TrainingState.of(training)

    assert (state.can_be_resumed, state.is_over) == (can_be_resumed, is_over)


def test_training_without_a_checkpoint_is_neither_over_nor_to_be_resumed(tmp_path: Path) -> None:
    state = TrainingState.of(tmp_path / "train")

    assert not state.can_be_resumed
    assert not state.is_over
    assert str(state) == f"there is no training in {tmp_path / 'train'}"


def test_state_says_how_far_the_training_came_and_in_which_run(training: Path) -> None:
    save_checkpoint({**STRIPPED, "train_results": {"epoch": [1, 2]}}, training)
    RunRecord("abc", "demo").save(training, exit_code=0)

    state = TrainingState.of(training / "weights" / "last.pt")

    assert str(state) == f"the training in {training} is over: 2 of 3 epochs, run abc"
    assert (state.run_id, state.is_run_open) == ("abc", False)


def test_state_of_a_training_of_one_epoch_names_one_epoch(training: Path) -> None:
    save_checkpoint({**STRIPPED, "train_args": {"epochs": 1}, "train_results": {"epoch": [1]}}, training)

    assert str(TrainingState.of(training)).endswith("is over: 1 of 1 epoch")


@pytest.mark.parametrize("exit_code", [1, 143, 255])
def test_run_that_was_closed_by_an_error_after_the_last_epoch_is_not_finished(training: Path, exit_code: int) -> None:
    save_checkpoint(STRIPPED, training)
    RunRecord("abc", "demo").save(training, exit_code=exit_code)

    assert TrainingState.of(training).is_run_open


def test_run_of_a_job_that_has_not_come_to_its_end_is_open_although_the_training_has_closed_it(training: Path) -> None:
    save_checkpoint(STRIPPED, training)
    RunRecord("abc", "demo", is_job_run=True).save(training, exit_code=0)

    assert TrainingState.of(training).is_run_open


def test_number_of_epochs_is_that_of_the_directory_where_the_checkpoint_does_not_say_it(training: Path) -> None:
    save_checkpoint({"epoch": 1, "optimizer": {}}, training)
    (training / "args.yaml").write_text("epochs: 2\n")

    assert TrainingState.of(training).is_over


def test_damaged_checkpoint_is_an_error_that_names_it(training: Path) -> None:
    (training / "weights" / "last.pt").write_bytes(b"half a checkpoint")

    with pytest.raises(ConfigurationError, match=r"last\.pt' is no complete checkpoint \(17 bytes\).*put back a copy"):
        TrainingState.of(training)


def test_checkpoint_is_read_without_running_what_it_names(training: Path) -> None:
    class Harmful:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(training / "harm"),)

    save_checkpoint({**CUT_OFF, "model": Harmful(), "path": training}, training)

    assert Progress.read(training / "weights" / "last.pt") == Progress(0, 3, has_optimizer=True, trained=1)
    assert not (training / "harm").exists()


def test_epochs_that_were_not_validated_bring_no_placeholders(tmp_path: Path) -> None:
    (tmp_path / "args.yaml").write_text("val: false\nepochs: 2\n")
    (tmp_path / "results.csv").write_text(
        "epoch,train/box_loss,metrics/mAP50(B),val/box_loss\n1,3.0,0,0\n2,2.0,0.5,1.5\n"
    )

    assert training_state._rows(tmp_path) == (  # noqa: SLF001  # finish_run logs these rows
        {"epoch": 1, "train/box_loss": 3.0},
        {"epoch": 2, "train/box_loss": 2.0, "metrics/mAP50(B)": 0.5, "val/box_loss": 1.5},
    )
