"""The parts of a restored training that need no answer of W&B: its directory and its dataset."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml  # type: ignore[import-untyped]  # carries no types

from ultralytics_wb_ddp.artifacts.training_state import TrainingState
from ultralytics_wb_ddp.tools import restore
from ultralytics_wb_ddp.tools.restore import RestoreError

CHECKPOINT = {
    "epoch": 1,
    "optimizer": {"state": {}},
    "train_args": {"epochs": 4, "data": "/lost/data.yaml", "project": "/lost", "name": "train"},
    "train_results": {"epoch": [1, 2], "train/box_loss": [3.0, 2.5]},
}


def test_directory_that_holds_files_is_refused(tmp_path: Path) -> None:
    restore._check_directory(tmp_path)  # noqa: SLF001  # it is empty
    restore._check_directory(tmp_path / "absent")  # noqa: SLF001
    (tmp_path / "file").touch()

    words = re.escape(f"'{tmp_path}' exists already; resume the training that is there with YOLO('{tmp_path}/weights")
    with pytest.raises(RestoreError, match=words):
        restore._check_directory(tmp_path)  # noqa: SLF001


@pytest.mark.parametrize(
    ("override", "logged", "dataset"),
    [
        (None, "coco8.yaml", "coco8.yaml"),
        (None, "s3://bucket/shapes", "s3://bucket/shapes"),
        ("here.yaml", "/lost/data.yaml", "{}/here.yaml"),
    ],
)
def test_dataset_is_a_name_of_ultralytics_an_address_or_a_file_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: str | None, logged: str, dataset: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here.yaml").touch()

    assert restore._find_dataset(override, logged) == dataset.format(tmp_path)  # noqa: SLF001


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("nowhere.yaml", "dataset 'nowhere.yaml' is not on this machine; give its place with data="),
        (None, "dataset '/lost/data.yaml' of the training is not on this machine; give its place with data="),
    ],
)
def test_dataset_that_is_not_on_this_machine_is_named(override: str | None, message: str) -> None:
    with pytest.raises(RestoreError, match=message):
        restore._find_dataset(override, "/lost/data.yaml")  # noqa: SLF001


def test_restored_directory_can_be_resumed_where_it_is(tmp_path: Path) -> None:
    draft, target = tmp_path / "draft", tmp_path / "runs/train"
    torch.save(CHECKPOINT, tmp_path / "downloaded.pt")

    restore._write_training_directory(tmp_path / "downloaded.pt", draft, target, "here.yaml")  # noqa: SLF001

    arguments = torch.load(draft / "weights/last.pt", weights_only=False)["train_args"]
    assert arguments == yaml.safe_load((draft / "args.yaml").read_text())
    assert (arguments["data"], arguments["save_dir"], arguments["epochs"]) == ("here.yaml", str(target), 4)
    assert (draft / "results.csv").read_text().splitlines() == ["epoch,train/box_loss", "1,3.0", "2,2.5"]
    assert TrainingState.of(draft).can_be_resumed


def test_checkpoint_of_a_training_that_is_over_is_refused(tmp_path: Path) -> None:
    torch.save({**CHECKPOINT, "epoch": 3}, tmp_path / "downloaded.pt")

    with pytest.raises(RestoreError, match="the checkpoint is of epoch 4 of 4, the training is over"):
        restore._write_training_directory(tmp_path / "downloaded.pt", tmp_path / "draft", tmp_path, "a.yaml")  # noqa: SLF001
