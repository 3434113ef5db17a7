"""Arguments of a training are checked before anything is started, as the installed release of Ultralytics knows them."""

from __future__ import annotations

from typing import Any

import pytest

from ultralytics_wb_ddp import ConfigurationError
from ultralytics_wb_ddp.jobs.train_arguments import check_train_arguments


@pytest.mark.parametrize(
    "values",
    [
        {"epochs": 5, "lr0": 1e-3, "data": "coco8.yaml", "device": [0, 1]},
        {"imgsz": [640, 480], "cache": "ram", "time": 0.5, "pretrained": "yolo11n.pt", "resume": True},
        {"label_smoothing": 0.1, "line_thickness": 2},  # old names that Ultralytics still takes
        {"project": "runs", "name": 3, "optimizer": "AdamW", "auto_augment": None},
    ],
)
def test_arguments_that_ultralytics_takes_are_taken(values: dict[str, Any]) -> None:
    assert check_train_arguments(values, "train") == values


def test_text_becomes_the_number_or_switch_that_is_needed() -> None:
    values = {"epochs": "5", "lr0": "1e-3", "save": "true", "imgsz": "640", "device": "0", "cache": "True"}

    assert check_train_arguments(values, "train") == {
        "epochs": 5,
        "lr0": 0.001,
        "save": True,
        "imgsz": 640,
        "device": "0",
        "cache": True,
    }


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"mosiac": 1.0}, ["train: 'mosiac'", "Ultralytics", "did you mean 'mosaic'?"]),
        ({"batch_size": 4}, ["'batch_size'", "did you mean 'batch'?"]),
        ({"qwertzuiop": 1}, ["'qwertzuiop'", "https://docs.ultralytics.com/usage/cfg"]),
        ({3: 1}, ["train: 3 "]),
        ({"epochs": "many"}, ["train.epochs: ", "many", "int"]),
        ({"mosaic": 3}, ["train.mosaic: ", "3", "between 0.0 and 1.0"]),
        ({"epochs": True}, ["train.epochs: True", "a number is expected"]),
        ({"imgsz": "wide"}, ["train.imgsz: 'wide'", "a number is expected, such as 640"]),
        ({"time": "1:30"}, ["train.time: ", "1:30"]),
        ({"optimizer": 3}, ["train.optimizer: ", "3", "str"]),
        ({"trianer": "x"}, ["did you mean 'trainer'?"]),
    ],
)
def test_argument_that_cannot_be_is_refused_with_a_remedy(
    values: dict[Any, Any], words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        check_train_arguments(values, "train", also=["trainer"])

    assert [word for word in words if word not in str(refused.value)] == []
    assert capfd.readouterr() == ("", "")  # Ultralytics would print pages of help
