"""Checkpoints of old and foreign releases, whose classes are gone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PosixPath
from types import ModuleType
from typing import Any

import pytest
import torch

from ultralytics_wb_ddp.tools.checkpoint_reader import Checkpoint


@contextmanager
def module(name: str, **content: Any) -> Iterator[ModuleType]:
    """Add a module that is gone again afterwards, as those of old releases are."""
    names = [".".join(name.split(".")[:count]) for count in range(1, name.count(".") + 2)]
    added = [each for each in names if each not in sys.modules]
    for each in added:
        sys.modules[each] = ModuleType(each)
    for key, value in content.items():
        value.__module__ = name
        setattr(sys.modules[name], key, value)
    yield sys.modules[name]
    for each in added:
        del sys.modules[each]


class Model:
    """Stands for a model, with a state and a part in a list."""

    def __init__(self, parts: tuple[Any, ...] = ()) -> None:
        self.parts = list(parts)


class Names(dict[int, str]):
    """Stands for a container of a project's own."""


@pytest.mark.parametrize("name", ["ultralytics.yolo.v8.detect.train", "models.yolo", "lost.package"])
def test_checkpoint_whose_classes_are_gone_is_read(tmp_path: Path, name: str) -> None:
    file = tmp_path / "last.pt"
    arguments = {"epochs": 3, "project": PosixPath("runs"), "api_key": "secret"}
    with module(name, Model=Model, Names=Names):
        torch.save(
            {
                "model": Model((Model(), torch.zeros(2), Names({0: "a"}))),
                "optimizer": {"state": {}},
                "train_metrics": {"fitness": torch.tensor(0.5), "metrics/mAP50(B)": 0.25, "odd": Model()},
                "opt" if name == "models.yolo" else "train_args": arguments,
            },
            file,
        )
    checkpoint = Checkpoint.read(file)

    assert (checkpoint.is_stripped, checkpoint.fitness, checkpoint.metrics) == (False, 0.5, {"metrics/mAP50(B)": 0.25})
    assert checkpoint.arguments == {"epochs": 3, "project": "runs", "api_key": "[redacted]"}


def test_file_that_holds_no_checkpoint_is_refused(tmp_path: Path) -> None:
    torch.save([1], tmp_path / "last.pt")

    with pytest.raises(ValueError, match=r"last\.pt holds no checkpoint but list"):
        Checkpoint.read(tmp_path / "last.pt")
