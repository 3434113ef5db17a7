"""What a dataset consists of, as Ultralytics itself finds it, and what has changed in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ultralytics.data.utils import check_cls_dataset, check_det_dataset

from ultralytics_wb_ddp.fingerprint import Dataset, Fingerprint, Stopped, what_changed
from ultralytics_wb_ddp.testing import make_shapes_dataset


def take(data: Path) -> Fingerprint:
    return Fingerprint.take(Dataset.of_training(check_det_dataset(data), "detect"))


def paths(fingerprint: Fingerprint, split: str) -> list[str]:
    return [line.split("\t")[1] for line in fingerprint.of_split(split).lines]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_shapes_dataset(tmp_path / "shapes", images=8, classes=2)


def test_each_image_has_a_line_with_its_size_and_the_hash_of_its_label(data: Path) -> None:
    root = data.parent
    (root / "labels/val/00001.txt").unlink()
    (root / "images/train/notes.md").write_text("no image")
    fingerprint = take(data)

    assert paths(fingerprint, "train") == [f"images/train/0000{number}.png" for number in range(2, 8)]
    assert (fingerprint.of_split("train").counts(), fingerprint.of_split("val").counts()) == ((6, 6), (2, 1))
    assert fingerprint.size() == sum(image.stat().st_size for image in root.glob("images/*/*.png"))
    assert fingerprint.lines[-1] == f"val\timages/val/00001.png\t{(root / 'images/val/00001.png').stat().st_size}\t-"


def test_images_are_not_opened(data: Path) -> None:
    image = data.parent / "images/train/00002.png"
    image.unlink()
    os.mkfifo(image)  # whoever opens it waits for ever

    assert take(data).of_split("train").counts() == (6, 6)


def test_dataset_that_was_moved_is_the_same(data: Path, tmp_path: Path) -> None:
    before = take(data)
    moved = data.parent.rename(tmp_path / "moved") / "data.yaml"
    moved.write_text(moved.read_text().replace(str(data.parent), str(moved.parent)))

    assert take(moved).digest == before.digest
    assert what_changed(before, take(moved)) == ""


def test_lists_directories_and_links_are_found_as_ultralytics_finds_them(data: Path, tmp_path: Path) -> None:
    root = data.parent
    other = make_shapes_dataset(tmp_path / "other", images=4, classes=2, seed=1).parent
    (root / "images/both").mkdir()
    (root / "images/both/linked").symlink_to(other / "images/train")
    (root / "images/both/circle").symlink_to(root / "images")
    (root / "images/train/.hidden.png").write_bytes(b"")
    (root / "some.txt").write_text(f"./images/train/00002.png\n{other}/images/val/00000.png\n./images/train/gone.png\n")
    data.write_text(f"path: {root}\ntrain: [images/val, some.txt]\nval: images/both\nnames: [a, b]\n")
    fingerprint = take(data)

    listed = ["images/train/00002.png", "images/train/gone.png", "images/val/00000.png", "images/val/00001.png"]
    assert paths(fingerprint, "train") == [f"{other}/images/val/00000.png", *listed]
    assert "train\timages/train/gone.png\t-\t-" in fingerprint.lines
    assert paths(fingerprint, "val") == ["images/both/linked/00002.png", "images/both/linked/00003.png"]


def test_image_folders_of_a_classification_are_their_labels(tmp_path: Path) -> None:
    root = make_shapes_dataset(tmp_path / "shapes", images=4, classes=2, task="classify")
    dataset = Dataset.of_training(check_cls_dataset(root), "classify")
    before = Fingerprint.take(dataset)
    (root / "train/shape0/00002.png").rename(root / "train/shape1/00002.png")

    assert (dataset.root, dataset.classes) == (root, ("shape0", "shape1"))
    assert paths(before, "train") == ["train/shape0/00002.png", "train/shape1/00003.png"]
    assert what_changed(before, Fingerprint.take(dataset)) == (
        "train: 1 image added (train/shape1/00002.png); train: 1 image removed (train/shape0/00002.png)"
    )


def test_masks_of_a_semantic_segmentation_are_known_by_their_size(data: Path) -> None:
    masks = data.parent / "annotations/train"
    masks.mkdir(parents=True)
    (masks / "00002.png").write_bytes(b"12345")
    checked = {**check_det_dataset(data), "masks_dir": "annotations"}
    fingerprint = Fingerprint.take(Dataset.of_training(checked, "semantic"))

    assert fingerprint.of_split("train").counts() == (6, 1)
    assert fingerprint.of_split("train").lines[0].endswith("\t5")


def test_changes_are_named_by_split_and_kind(data: Path) -> None:
    before = take(data)
    root = data.parent
    for name in ("a", "b", "c", "d"):
        (root / f"images/train/{name}.jpg").write_bytes(b"new")
    (root / "images/train/00002.png").unlink()
    (root / "images/val/00000.png").write_bytes(b"other")
    for name in ("00003", "00004"):
        (root / f"labels/train/{name}.txt").write_text("1 0.5 0.5 0.1 0.1\n")
    data.write_text(data.read_text().replace("shape1", "hexagon"))

    assert what_changed(before, take(data)).split("; ") == [
        "names of the classes changed",
        "train: 4 images added (images/train/a.jpg, images/train/b.jpg, images/train/c.jpg, ...)",
        "train: 2 labels changed (images/train/00003.png, images/train/00004.png)",
        "train: 1 image removed (images/train/00002.png)",
        "val: 1 image of another size (images/val/00000.png)",
    ]


def test_file_says_the_same_as_what_it_was_saved_from(data: Path, tmp_path: Path) -> None:
    for name in ("a\tb\nc.png", "Übersicht 1.png", os.fsdecode(b"\xff.png")):
        (data.parent / "images/train" / name).write_bytes(b"")
    fingerprint = take(data)
    fingerprint.save(tmp_path / "dataset.tsv")

    assert Fingerprint.load(tmp_path / "dataset.tsv") == fingerprint
    assert "images/train/Übersicht 1.png" in paths(fingerprint, "train")
    assert "images/train/a\\tb\\nc.png" in paths(fingerprint, "train")


@pytest.mark.parametrize("content", [None, b"", b"split\tpath\n", b"split\tpath\tbytes\tlabel\nhalf a l\n", b"\xff"])
def test_damaged_file_counts_as_none(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "dataset.tsv").write_bytes(content)

    assert Fingerprint.load(tmp_path / "dataset.tsv") is None


def test_looking_ends_when_nobody_waits_for_it(data: Path) -> None:
    with pytest.raises(Stopped):
        Fingerprint.take(Dataset.of_training(check_det_dataset(data), "detect"), lambda: False)
