"""The folds of a dataset: stratified, and the same for the same seed."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]  # carries no types

from ultralytics_wb_ddp import ConfigurationError, kfold
from ultralytics_wb_ddp.testing.shapes_dataset import make_shapes_dataset


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    return make_shapes_dataset(tmp_path / "shapes", images=20, classes=2)


def lists(file: Path) -> dict[str, list[str]]:
    content = yaml.safe_load(file.read_text())
    return {split: Path(content[split]).read_text().splitlines() for split in ("train", "val")}


def test_each_image_is_validated_on_once_and_classes_are_spread_evenly(data: Path, tmp_path: Path) -> None:
    folds = [lists(file) for file in kfold(data, 5, tmp_path / "folds")]

    assert Counter(image for fold in folds for image in fold["val"]) == Counter(
        str(file) for file in (data.parent / "images").rglob("*.png")
    )
    for fold in folds:
        assert len(fold["train"]) == 16
        assert not set(fold["train"]) & set(fold["val"])
        numbers = Counter(int(Path(image).stem) % 2 for image in fold["val"])  # the class of a shape
        assert numbers == {0: 2, 1: 2}


def test_same_seed_gives_the_same_folds(data: Path, tmp_path: Path) -> None:
    first, again, other = (
        [lists(file) for file in kfold(data, 4, tmp_path / name, seed=seed)]
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )

    assert first == again != other


@pytest.mark.parametrize("folds", [1, 21])
def test_folds_that_are_too_few_or_too_many(data: Path, tmp_path: Path, folds: int) -> None:
    with pytest.raises(ConfigurationError, match=f"folds={folds}: from 2 to 20, the number of images"):
        kfold(data, folds, tmp_path / "folds")
    assert not os.path.exists(tmp_path / "folds")  # noqa: PTH110
