"""The files of a dataset, as Ultralytics itself finds them, and the changes since an earlier training."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ultralytics.data.utils import check_cls_dataset, check_det_dataset, img2label_paths

from ultralytics_wb_ddp.artifacts.dataset_fingerprint import Dataset, Fingerprint, ScanCancelled, describe_changes
from ultralytics_wb_ddp.testing.shapes_dataset import make_shapes_dataset


def take(data: Path) -> Fingerprint:
    return Fingerprint.compute(Dataset.of_training(check_det_dataset(data), "detect"))


def paths(fingerprint: Fingerprint, split: str) -> list[str]:
    return [line.split("\t")[1] for line in fingerprint.for_split(split).lines]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_shapes_dataset(tmp_path / "shapes", images=8, classes=2)


def test_each_image_has_a_line_with_its_size_and_the_hash_of_its_label(data: Path) -> None:
    root = data.parent
    (root / "labels/val/00001.txt").unlink()
    (root / "images/train/notes.md").write_text("no image")
    fingerprint = take(data)

    assert paths(fingerprint, "train") == [f"images/train/0000{number}.png" for number in range(2, 8)]
    assert (fingerprint.for_split("train").counts(), fingerprint.for_split("val").counts()) == ((6, 6), (2, 1))
    assert fingerprint.size() == sum(image.stat().st_size for image in root.glob("images/*/*.png"))
    assert fingerprint.lines[-1] == f"val\timages/val/00001.png\t{(root / 'images/val/00001.png').stat().st_size}\t-"


def test_images_are_not_opened(data: Path) -> None:
    image = data.parent / "images/train/00002.png"
    image.unlink()
    os.mkfifo(image)  # to open it is to wait for ever

    assert take(data).for_split("train").counts() == (6, 6)


def move_directory(data: Path, place: Path) -> Path:
    return rewrite(shutil.copytree(data.parent, place / "moved") / "data.yaml", data.parent, place / "moved")


def link_to_a_store(data: Path, place: Path) -> Path:
    """Move images and labels to a store, as data version control does; Ultralytics follows the links."""
    shutil.copytree(data.parent, place / "store")
    (place / "project").mkdir()
    for kind in ("images", "labels"):
        (place / "project" / kind).symlink_to(place / "store" / kind)
    return rewrite(shutil.copy(data, place / "project/data.yaml"), data.parent, place / "project")


def link_each_file(data: Path, place: Path) -> Path:
    shutil.copytree(data.parent, place / "moved", symlinks=True)
    for number, file in enumerate(sorted((place / "moved").rglob("0*.*"))):
        file.symlink_to(file.rename(place / f"object-{number}"))
    return rewrite(place / "moved/data.yaml", data.parent, place / "moved")


def keep_yaml_elsewhere(data: Path, place: Path) -> Path:
    images = shutil.copytree(data.parent, place / "disk") / "images"
    (place / "home").mkdir()
    (place / "home/my.yaml").write_text(f"train: {images}/train\nval: {images}/val\nnames: [shape0, shape1]\n")
    return place / "home/my.yaml"


def keep_path_relative(data: Path, place: Path) -> Path:
    root = shutil.copytree(data.parent, place / "moved")
    rewrite(root / "data.yaml", data.parent, Path(os.path.relpath(root)))
    return root / "data.yaml"


def rewrite(file: str | Path, old: Path, new: Path) -> Path:
    Path(file).write_text(Path(file).read_text().replace(str(old), str(new)))
    return Path(file)


@pytest.mark.parametrize(
    "move", [move_directory, link_to_a_store, link_each_file, keep_yaml_elsewhere, keep_path_relative]
)
def test_dataset_of_the_same_content_is_the_same_wherever_it_lies(
    data: Path, tmp_path: Path, move: Callable[[Path, Path], Path]
) -> None:
    before = take(data)
    (tmp_path / "there").mkdir()
    moved = move(data, tmp_path / "there")

    assert take(moved).digest == before.digest
    label = next(tmp_path.glob("there/*/labels/train/00003.txt"))
    label.write_text("1 0.5 0.5 0.1 0.1\n")
    assert describe_changes(before, take(moved)) == "train: 1 label changed (images/train/00003.png)"


@pytest.mark.parametrize("beside", [True, False])
def test_lists_of_the_same_images_are_the_same_wherever_list_and_images_lie(
    data: Path, tmp_path: Path, *, beside: bool
) -> None:
    here = listed(data.parent, tmp_path / "here", beside=True)
    there = listed(shutil.copytree(data.parent, tmp_path / "disk/data"), tmp_path / "there", beside=beside)

    assert take(there).digest == take(here).digest
    (tmp_path / "disk/data/images/train/new").mkdir()
    added = shutil.copy(data.parent / "images/val/00000.png", tmp_path / "disk/data/images/train/new/1.png")
    with next(tmp_path.glob("disk/data/train.txt" if beside else "there/train.txt")).open("a") as file:
        file.write(f"{added}\n")
    assert describe_changes(take(here), take(there)) == "train: 1 image added (images/train/new/1.png)"


def listed(root: Path, place: Path, *, beside: bool) -> Path:
    """List the images in text files: beside them by relative paths, elsewhere by absolute ones."""
    place.mkdir()
    lists = root if beside else place
    for split in ("train", "val"):
        images = [f"./images/{split}/{file.name}" for file in sorted((root / "images" / split).iterdir())]
        lines = images if beside else [str(root / image) for image in images]
        (lists / f"{split}.txt").write_text("".join(f"{line}\n" for line in lines))
    (lists / "lists.yaml").write_text("train: train.txt\nval: val.txt\nnames: [shape0, shape1]\n")
    return lists / "lists.yaml"


def test_images_of_the_same_name_in_several_sources_are_kept_apart(data: Path, tmp_path: Path) -> None:
    other = make_shapes_dataset(tmp_path / "other", images=8, classes=2, seed=1).parent
    data.write_text(data.read_text().replace("train: images/train", f"train: [images/train, {other}/images/train]"))
    before = take(data)
    (other / "labels/train/00003.txt").write_text("1 0.5 0.5 0.1 0.1\n")

    assert before.for_split("train").counts() == (12, 12)
    assert describe_changes(before, take(data)) == "train: 1 label changed (2:images/train/00003.png)"


def test_images_of_the_same_name_in_one_list_are_kept_apart(data: Path, tmp_path: Path) -> None:
    other = make_shapes_dataset(tmp_path / "other", images=8, classes=2, seed=1).parent
    images = [root / "images/train/00003.png" for root in (data.parent, other)]
    (data.parent / "train.txt").write_text("".join(f"{image}\n" for image in images))
    data.write_text(data.read_text().replace("train: images/train", "train: train.txt"))

    assert paths(take(data), "train") == ["other/images/train/00003.png", "shapes/images/train/00003.png"]


def test_lists_of_paths_relative_to_the_working_directory_are_read(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data.parent / "train.txt").write_text("images/train/00002.png\nimages/train/00003.png\n")
    data.write_text(data.read_text().replace("train: images/train", "train: train.txt"))
    monkeypatch.chdir(data.parent)

    assert paths(take(data), "train") == ["00002.png", "00003.png"]  # below what they share


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

    listed = ["2:images/train/00002.png", "2:images/train/gone.png", "2:images/val/00000.png"]
    assert paths(fingerprint, "train") == [*listed, "images/val/00000.png", "images/val/00001.png"]
    assert "train\t2:images/train/gone.png\t-\t-" in fingerprint.lines
    assert paths(fingerprint, "val") == ["images/both/linked/00002.png", "images/both/linked/00003.png"]


def test_image_folders_of_a_classification_are_their_labels(tmp_path: Path) -> None:
    root = make_shapes_dataset(tmp_path / "images/shapes", images=4, classes=2, task="classify")
    dataset = Dataset.of_training(check_cls_dataset(root), "classify")
    before = Fingerprint.compute(dataset)
    (root / "train/shape0/00002.png").rename(root / "train/shape1/00002.png")

    assert (dataset.root, dataset.classes) == (root, ("shape0", "shape1"))
    assert paths(before, "train") == ["shape0/00002.png", "shape1/00003.png"]
    assert describe_changes(before, Fingerprint.compute(dataset)) == (
        "train: 1 image added (shape1/00002.png); train: 1 image removed (shape0/00002.png)"
    )


def test_masks_of_a_semantic_segmentation_are_its_labels(data: Path) -> None:
    masks = data.parent / "annotations/train"
    masks.mkdir(parents=True)
    (masks / "00002.png").write_bytes(b"12345")
    dataset = Dataset.of_training({**check_det_dataset(data), "masks_dir": "annotations"}, "semantic")
    before = Fingerprint.compute(dataset)
    (masks / "00002.png").write_bytes(b"12346")

    assert before.for_split("train").counts() == (6, 1)
    assert describe_changes(before, Fingerprint.compute(dataset)) == "train: 1 label changed (images/train/00002.png)"


def test_polygons_of_a_semantic_segmentation_are_its_labels_where_there_are_no_masks(data: Path) -> None:
    dataset = Dataset.of_training(check_det_dataset(data), "semantic")
    before = Fingerprint.compute(dataset)
    (data.parent / "labels/train/00003.txt").write_text("1 0.5 0.5 0.1 0.1 0.2 0.2\n")

    assert before.for_split("train").counts() == (6, 6)
    assert describe_changes(before, Fingerprint.compute(dataset)) == "train: 1 label changed (images/train/00003.png)"
    (data.parent / "masks").mkdir()
    assert (
        Fingerprint.compute(Dataset.of_training(check_det_dataset(data), "semantic")).for_split("train").counts()[1]
        == 0
    )


@pytest.mark.parametrize("suffix", [".png", ".npy"])
def test_depth_maps_are_the_labels_of_depth_estimation(data: Path, suffix: str) -> None:
    maps = data.parent / "depth/train"
    maps.mkdir(parents=True)
    values = np.random.default_rng(0).integers(1, 60000, (200, 300)).astype(np.uint16)
    save_map(maps / f"00002{suffix}", values)
    dataset = Dataset.of_training(check_det_dataset(data), "depth")
    before = Fingerprint.compute(dataset)
    save_map(maps / f"00002{suffix}", values[::-1])  # of the same size

    assert before.for_split("train").counts() == (6, 1)
    assert describe_changes(before, Fingerprint.compute(dataset)) == "train: 1 label changed (images/train/00002.png)"


def save_map(file: Path, values: np.ndarray) -> None:
    Image.fromarray(values).save(file) if file.suffix == ".png" else np.save(file, values.astype(np.float32))


def test_label_that_lies_where_ultralytics_looks_is_the_one_that_counts(data: Path) -> None:
    image = str(data.parent / "images/train/00002.png")
    for task in ("detect", "segment", "pose", "obb", "semantic"):
        assert Dataset.of_training(check_det_dataset(data), task).label_of(image) == img2label_paths([image])[0]


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

    assert describe_changes(before, take(data)).split("; ") == [
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


@pytest.mark.parametrize("content", [None, b"", b"split\tpath\n", b"split\timage\tbytes\tlabel\nhalf a l\n", b"\xff"])
def test_damaged_file_counts_as_none(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "dataset.tsv").write_bytes(content)

    assert Fingerprint.load(tmp_path / "dataset.tsv") is None


def test_file_of_an_earlier_version_of_this_package_is_compared_with_nothing(tmp_path: Path) -> None:
    (tmp_path / "dataset.tsv").write_text("split\tpath\tbytes\tlabel\ntrain\t/disk/images/train/00002.png\t5\t-\n")

    assert Fingerprint.load(tmp_path / "dataset.tsv") is None


def test_scan_ends_when_it_is_cancelled(data: Path) -> None:
    with pytest.raises(ScanCancelled):
        Fingerprint.compute(Dataset.of_training(check_det_dataset(data), "detect"), lambda: False)
