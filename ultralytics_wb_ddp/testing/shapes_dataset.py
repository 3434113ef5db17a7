"""Generate a labelled dataset of coloured shapes for any Ultralytics task."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import os

    from PIL.Image import Image


MIN_IMAGES = 4
TASKS = ("detect", "segment", "pose", "obb", "classify")


def make_shapes_dataset(
    path: str | os.PathLike[str],
    images: int = 16,
    classes: int = 2,
    *,
    task: str = "detect",
    imgsz: int = 64,
    seed: int = 0,
) -> Path:
    """Write a small dataset of coloured polygons for ``model.train(data=...)``.

    The polygons of a class have the same number of corners and the same colour, so that a model can learn the class. A
    quarter of the images (at least two) is the validation set.

    Args:
        path: Directory to write to. It is created when missing; files of the same names are replaced.
        images: Number of images, at least 4.
        classes: Number of classes, at least 1. Every class appears if ``images`` is at least ``classes``.
        task: One of ``"detect"``, ``"segment"``, ``"pose"``, ``"obb"``, ``"classify"``.
        imgsz: Width and height of an image in pixels.
        seed: Seed of the random generator: the same arguments give the same files.

    Returns:
        Path of ``data.yaml``; for ``"classify"`` the directory itself.

    Raises:
        ValueError: Fewer than 4 images, fewer than 1 class, or an unknown task.
    """
    if images < MIN_IMAGES:
        msg = f"images={images}: a training and a validation set need at least {MIN_IMAGES} images"
        raise ValueError(msg)
    if classes < 1:
        msg = f"classes={classes}: at least 1 class is needed"
        raise ValueError(msg)
    if task not in TASKS:
        msg = f"task={task!r} is unknown; choose one of {', '.join(TASKS)}"
        raise ValueError(msg)
    root = Path(path).resolve()
    rng = np.random.default_rng(seed)
    for number in range(images):
        split = "val" if number < max(2, images // 4) else "train"
        _write_example(root, split, number, number % classes, classes, task, imgsz, rng)
    if task == "classify":
        for split in ("train", "val"):  # every class has its folder in both, also where it has no image
            for index in range(classes):
                (root / split / f"shape{index}").mkdir(parents=True, exist_ok=True)
        return root
    names = "".join(f"  {index}: shape{index}\n" for index in range(classes))
    keypoints = "kpt_shape: [4, 3]\nflip_idx: [0, 1, 2, 3]\n" if task == "pose" else ""
    data = root / "data.yaml"
    _write(data, f"path: {root}\ntrain: images/train\nval: images/val\n{keypoints}names:\n{names}")
    return data


def _write_example(
    root: Path, split: str, number: int, index: int, classes: int, task: str, imgsz: int, rng: np.random.Generator
) -> None:
    from PIL import Image, ImageDraw

    corners = 4 if task in {"obb", "pose"} else 3 + index % 6
    centre, radius = rng.uniform(0.35, 0.65, 2), rng.uniform(0.2, 0.33)
    angles = rng.uniform(0, np.pi) + np.arange(corners) * 2 * np.pi / corners
    points = centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)  # (corners, 2), relative to imgsz
    image = Image.fromarray(rng.integers(0, 60, (imgsz, imgsz, 3), dtype=np.uint8))
    hue = int(255 * index / classes)
    colour = Image.new("HSV", (1, 1), (hue, 255, 255)).convert("RGB").getpixel((0, 0))
    ImageDraw.Draw(image).polygon([tuple(point) for point in points * imgsz], fill=colour)

    if task == "classify":
        folder = root / split / f"shape{index}"
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / f"{number:05d}.png", image)
        return
    low, high = points.min(axis=0), points.max(axis=0)
    box = np.concatenate([(low + high) / 2, high - low])
    values = {
        "detect": box,
        "segment": points.ravel(),
        "obb": points.ravel(),
        "pose": np.concatenate([box, np.column_stack([points, np.full(corners, 2)]).ravel()]),
    }[task]
    for kind in ("images", "labels"):
        (root / kind / split).mkdir(parents=True, exist_ok=True)
    _write(root / "images" / split / f"{number:05d}.png", image)
    line = " ".join([str(index), *(f"{value:.6f}" for value in values)])
    _write(root / "labels" / split / f"{number:05d}.txt", line + "\n")


def _write(file: Path, content: str | Image) -> None:
    """Write a file atomically, because all ranks may generate the same dataset."""
    unfinished = file.with_name(f"{file.name}.{uuid.uuid4().hex}")
    if isinstance(content, str):
        unfinished.write_text(content, encoding="utf-8")
    else:
        content.save(unfinished, format="PNG")
    unfinished.replace(file)
