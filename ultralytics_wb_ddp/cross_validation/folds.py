"""Divide a dataset into folds for cross-validation without copying images."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ultralytics_wb_ddp.artifacts.dataset_fingerprint import Dataset, find_images
from ultralytics_wb_ddp.config.validation import ConfigurationError
from ultralytics_wb_ddp.utils.serialization import to_plain

if TYPE_CHECKING:
    import os


DATASET_ONLY_KEYS = ("path", "train", "val", "minival", "download", "yaml_file", "nc")  # of the dataset's YAML


def kfold(data: str | os.PathLike[str], folds: int, directory: str | os.PathLike[str], *, seed: int = 0) -> list[Path]:
    """Divide the training and validation images of a dataset into folds.

    The folds are stratified by the rarest class in each image, and the images of a class are spread evenly. The same
    arguments give the same folds. Test images are left out.

    Args:
        data: The data YAML of any task except classification. Its images must be in directories.
        folds: Number of folds, from 2 to the number of images.
        directory: Directory for the image lists and the data YAML of each fold.
        seed: Seed of the shuffle.

    Returns:
        The data YAML of each fold, for ``model.train(data=...)``.

    Raises:
        ConfigurationError: There are fewer images than folds, or fewer than two folds.
    """
    from ultralytics.data.utils import check_det_dataset

    dataset_config = check_det_dataset(str(data))
    dataset = Dataset.of_training({**dataset_config, "test": None}, "")
    sources = (path for paths in dataset.splits.values() for path in paths)
    images = sorted({image for source in sources for image in find_images(source, dataset.formats)})
    if not 2 <= folds <= len(images):  # noqa: PLR2004  # one to train on, one to validate on
        msg = f"folds={folds}: from 2 to {len(images)}, the number of images of {str(data)!r}, are possible"
        raise ConfigurationError(msg)
    order = _stratified_order(images, dataset, random.Random(seed))  # noqa: S311  # no secret
    target = Path(directory).resolve()
    target.mkdir(parents=True, exist_ok=True)
    dataset_settings = {
        key: to_plain(value)
        for key, value in dataset_config.items()
        if key not in DATASET_ONLY_KEYS and value is not None
    }
    return [_write(target, fold, order, folds, dataset_settings) for fold in range(folds)]


def _stratified_order(images: list[str], dataset: Dataset, generator: random.Random) -> list[str]:
    """Return the images shuffled and sorted by class. Every n-th image is a stratified sample."""
    classes = {image: _classes_of(dataset.label_of(image)) for image in images}
    frequency = Counter(name for names in classes.values() for name in names)
    strata = defaultdict(list)
    for image in images:
        strata[min(classes[image], key=lambda name: (frequency[name], name), default="")].append(image)
    for members in strata.values():
        generator.shuffle(members)
    return [image for name in sorted(strata) for image in strata[name]]


def _classes_of(label: str) -> set[str]:
    try:
        return {line.split()[0] for line in Path(label).read_text(encoding="utf-8").splitlines() if line.strip()}
    except (OSError, ValueError):
        return set()


def _write(target: Path, fold: int, order: list[str], folds: int, dataset_settings: dict[str, Any]) -> Path:
    validation_images = set(order[fold::folds])
    lists = {"train": [image for image in order if image not in validation_images], "val": order[fold::folds]}
    files = {split: target / f"fold-{fold}-{split}.txt" for split in lists}
    for split, images in lists.items():
        files[split].write_text("".join(f"{image}\n" for image in sorted(images)), encoding="utf-8")
    file = target / f"fold-{fold}.yaml"
    content = {**{split: str(path) for split, path in files.items()}, **dataset_settings}
    file.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return file
