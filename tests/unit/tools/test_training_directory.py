"""The directory of a past training: its arguments, and whether the training was over."""

from __future__ import annotations

import os
from pathlib import Path, PosixPath

import yaml  # type: ignore[import-untyped]  # carries no types

from ultralytics_wb_ddp.tools.training_directory import PastTraining

HEADER = "epoch,time,train/box_loss"


def lines(*epochs: int) -> str:
    return "".join(f"{epoch},{10 * epoch},{epoch}\n" for epoch in epochs)


def training(directory: Path, *, arguments: str | bytes | None = None, **files: object) -> PastTraining:
    """Read a directory of two epochs."""
    (directory / "results.csv").write_text(f"{HEADER}\n{lines(1, 2)}")
    if arguments is not None:
        content = arguments.encode() if isinstance(arguments, str) else arguments
        (directory / "args.yaml").write_bytes(content)
    for name, values in files.items():
        (directory / f"{name}.yaml").write_text(yaml.safe_dump(values))
    return PastTraining.read(directory)


def test_byte_that_is_not_utf_8_costs_nothing_else(tmp_path: Path) -> None:
    found = training(tmp_path, arguments=b"data: /home/Jos\xe9/d.yaml\nepochs: 2\nname: a\n")

    assert found.arguments == {"data": "/home/Jos\ufffd/d.yaml", "epochs": 2, "name": "a"}
    assert found.notes == ("args.yaml is not UTF-8 in line 1: what cannot be read there is '\ufffd'",)
    assert found.is_complete({}) is True


def test_lines_that_are_no_yaml_cost_no_other(tmp_path: Path) -> None:
    found = training(tmp_path, arguments="task: detect\ndata: [1, 2\nepochs: 2\nname: {\nclasses:\n- 0\n- 1\n")

    assert found.arguments == {"task": "detect", "epochs": 2, "classes": [0, 1]}
    assert found.notes == tuple(f"line {number} of args.yaml cannot be read and is left out" for number in (2, 4))


def test_path_that_was_written_as_an_object_of_python_is_a_path(tmp_path: Path) -> None:
    arguments = yaml.dump({"project": PosixPath("/runs/detect"), "epochs": 2})

    assert training(tmp_path, arguments=arguments).arguments == {"project": "/runs/detect", "epochs": 2}


def test_arguments_of_yolov5_are_its_options_and_hyperparameters(tmp_path: Path) -> None:
    options = {
        "weights": "yolov5s.pt",
        "epochs": 2,
        "project": "runs/train",
        "name": "exp",
        "save_dir": "runs/train/exp2",
    }
    found = training(tmp_path, opt=options, hyp={"lr0": 0.01, "fl_gamma": 0.0})

    assert found.arguments == {**options, "lr0": 0.01, "fl_gamma": 0.0}
    assert (found.name, found.project, found.notes, found.is_complete({})) == ("exp2", "YOLOv5", (), True)


# Whether it was over


def test_files_that_cannot_be_read_make_no_training_fail(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/last.pt").write_bytes(b"damaged")

    assert training(tmp_path, arguments="epochs: 9\n").is_complete({}) is None
    (tmp_path / "args.yaml").write_bytes(b"\0\xff: [")
    (tmp_path / "weights/last.pt").unlink()
    assert PastTraining.read(tmp_path).is_complete({}) is None


def test_end_of_an_earlier_training_is_not_that_of_the_last_one(tmp_path: Path) -> None:
    training(tmp_path, arguments="epochs: 9\n")
    (tmp_path / "results.csv").write_text(f"{HEADER}\n{lines(1, 2, 3)}{lines(1, 2)}")
    (tmp_path / "results.png").write_bytes(b"")
    os.utime(tmp_path / "results.png", (1e9, 1e9))

    assert PastTraining.read(tmp_path).is_complete({}) is False


def test_training_that_stopped_early_is_over(tmp_path: Path) -> None:
    stopped = training(tmp_path, arguments="epochs: 100\n")
    assert stopped.is_complete({}) is False

    (tmp_path / "results.png").write_bytes(b"")
    assert stopped.is_complete({}) is True
