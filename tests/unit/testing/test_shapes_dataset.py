"""The dataset of generated shapes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from PIL import Image

from ultralytics_wb_ddp.testing.shapes_dataset import make_shapes_dataset


def test_shapes_dataset_has_images_and_labels_of_every_class(tmp_path: Path) -> None:
    data = make_shapes_dataset(tmp_path, images=12, classes=3)

    described = yaml.safe_load(data.read_text())
    images = sorted(tmp_path.glob("images/*/*.png"))
    labels = [line.split() for file in tmp_path.glob("labels/*/*.txt") for line in file.read_text().splitlines()]
    assert described["names"] == {0: "shape0", 1: "shape1", 2: "shape2"}
    assert len(images) == len(labels) == 12
    assert Image.open(images[0]).size == (64, 64)
    assert {label[0] for label in labels} == {"0", "1", "2"}
    assert all(0 <= float(value) <= 1 for label in labels for value in label[1:])


def test_shapes_dataset_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    def content(name: str, seed: int) -> dict[str, bytes]:
        make_shapes_dataset(tmp_path / name, images=4, classes=2, seed=seed)
        files = [path for path in (tmp_path / name).rglob("*") if path.suffix in {".png", ".txt"}]
        return {str(path.relative_to(tmp_path / name)): path.read_bytes() for path in files}

    assert content("a", 1) == content("b", 1)
    assert content("a", 1) != content("c", 2)


def test_shapes_dataset_can_be_generated_while_it_is_read(tmp_path: Path) -> None:
    data = make_shapes_dataset(tmp_path, images=4)
    read = [path.open("rb") for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    before = [Path(file.name).read_bytes() for file in read]
    make_shapes_dataset(tmp_path, images=4)

    assert [file.read() for file in read] == before, "no file was emptied under the reader"
    assert [Path(file.name).read_bytes() for file in read] == before
    assert data in {Path(file.name) for file in read}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": 3}, "images=3"),
        ({"classes": 0}, "classes=0"),
        ({"task": "semantic"}, "task='semantic' is unknown; choose one of detect"),
    ],
)
def test_shapes_dataset_names_a_bad_argument(tmp_path: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_shapes_dataset(tmp_path, **arguments)  # type: ignore[arg-type]
