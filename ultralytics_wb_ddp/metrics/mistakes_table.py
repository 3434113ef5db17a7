"""Build the W&B table of mistakes, with one row for each image."""

from __future__ import annotations

import io
import math
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from ultralytics_wb_ddp.metrics.mistakes import ImageAnnotations, Mistake


MASK_LABELS = 255  # highest class number in a W&B mask; 0 means no class
TRUTH, PREDICTIONS = "ground_truth", "predictions"  # as in W&B's examples
DETECTION_COLUMNS = ["Image", "File", "Mistakes", "Missed", "Wrong", "Right", "Surest wrong"]
CLASSIFICATION_COLUMNS = ["Image", "Class", "Predicted", "Confidence", "Confidence in class", "Five surest"]


def mistakes_table(
    mistakes: Sequence[Mistake],
    names: Mapping[int, str],
    task: str,
    guard: Callable[[str], AbstractContextManager[Any]] = nullcontext,
) -> Any:
    """Return a W&B table of images, or None without images.

    Boxes, masks, outlines of rotated boxes and keypoints are overlays and not part of the picture. So a picture is the
    same file in every table of a run, and the masks of its labels are, too; W&B stores equal files once. ``guard``
    keeps the errors of a picture from the others; its row has no picture then.
    """
    if not mistakes:
        return None
    import wandb

    used = {
        int(index) for mistake in mistakes for objects in _annotations(mistake).values() for index in objects.classes
    }
    numbers = _overlay_class_ids(names, used)
    is_classification = task == "classify"
    rows = []
    for mistake in mistakes:
        image = None
        with guard(f"the picture of {mistake.name}"):
            image = _wandb_image(mistake, names, numbers, is_plain=is_classification)
        rows.append([image, *(_classified(mistake, names) if is_classification else _detected(mistake))])
    return wandb.Table(columns=CLASSIFICATION_COLUMNS if is_classification else DETECTION_COLUMNS, data=rows)


def _annotations(mistake: Mistake) -> dict[str, ImageAnnotations]:
    return {TRUTH: mistake.truth, PREDICTIONS: mistake.predictions}


def _overlay_class_ids(names: Mapping[int, str], used: set[int]) -> dict[int, int]:
    """Return the class numbers of overlays. Beyond 255 classes only used classes have a number."""
    if len(names) <= MASK_LABELS:
        return {index: index + 1 for index in names}
    return {index: number for number, index in enumerate(sorted(used), 1)}


def _detected(mistake: Mistake) -> list[Any]:
    wrong = mistake.wrong
    missed = mistake.rank.mistakes - wrong
    surest = mistake.rank.confidence if wrong else None
    return [mistake.name, mistake.rank.mistakes, missed, wrong, mistake.labelled - missed, surest]


def _classified(mistake: Mistake, names: Mapping[int, str]) -> list[Any]:
    truth, guess = mistake.truth, mistake.predictions
    scores = [f"{names[int(index)]} {score:.2f}" for index, score in zip(guess.classes, guess.confidence)]
    surest, true = (round(float(objects.confidence[0]), 4) for objects in (guess, truth))
    return [names[int(truth.classes[0])], names[int(guess.classes[0])], surest, true, ", ".join(scores)]


def _wandb_image(mistake: Mistake, names: Mapping[int, str], numbers: Mapping[int, int], *, is_plain: bool) -> Any:
    import wandb
    from PIL import Image

    picture = Image.open(io.BytesIO(mistake.picture))
    if is_plain:
        return wandb.Image(picture, file_type="jpg")
    labels = {number: names[index] for index, number in numbers.items()}
    boxes, masks = {}, {}
    for key, objects in _annotations(mistake).items():
        if len(objects.boxes):
            boxes[key] = {"box_data": _boxes(objects, names, numbers), "class_labels": labels}
        mask = _mask(objects, numbers, picture.size)
        if mask is not None:
            masks[key] = {"mask_data": mask, "class_labels": labels}
    classes = [{"id": number, "name": name} for number, name in labels.items()]
    return wandb.Image(picture, file_type="jpg", boxes=boxes or None, masks=masks or None, classes=classes)


def _boxes(objects: ImageAnnotations, names: Mapping[int, str], numbers: Mapping[int, int]) -> list[dict[str, Any]]:
    """Return boxes in W&B's format. Scores filter predictions by confidence and by correctness."""
    data = []
    for number, (index, box) in enumerate(zip(objects.classes.tolist(), objects.boxes.round(4).tolist())):
        position = dict(zip(("minX", "minY", "maxX", "maxY"), box))
        entry = {"position": position, "class_id": numbers[index], "box_caption": names[index]}
        if len(objects.correct):
            score = round(float(objects.confidence[number]), 4)
            caption = f"{names[index]} {score:.2f}{'' if objects.correct[number] else ' wrong'}"
            entry |= {
                "box_caption": caption,
                "scores": {"confidence": score, "right": int(objects.correct[number])},
            }
        data.append(entry)
    return data


def _mask(objects: ImageAnnotations, numbers: Mapping[int, int], size: tuple[int, int]) -> np.ndarray | None:
    """Return the class number of each pixel, with outlines of rotated boxes and keypoints.

    A class with a number over 255 is not drawn. The size is width and height in pixels.
    """
    from PIL import Image, ImageDraw

    if objects.mask is None and not len(objects.corners) and not len(objects.points[0]):
        return None
    image = Image.new("L", size)
    if objects.mask is not None:
        number_of = np.zeros(max(numbers) + 2, np.uint8)  # by 1 + class
        for index, number in numbers.items():
            number_of[index + 1] = number if number <= MASK_LABELS else 0
        image = Image.fromarray(number_of[objects.mask]).resize(size, Image.Resampling.NEAREST)
    draw, width = ImageDraw.Draw(image), max(1, math.ceil(max(size) / 320))
    drawn = {index: number for index, number in numbers.items() if number <= MASK_LABELS}
    for index, corners in zip(objects.classes.tolist(), objects.corners * size):
        if index in drawn:
            draw.polygon([tuple(corner) for corner in corners], outline=drawn[index], width=width)
    for index, (x, y) in zip(objects.points[1].tolist(), objects.points[0] * size):
        if index in drawn:
            draw.ellipse((x - width, y - width, x + width, y + width), fill=drawn[index])
    return np.asarray(image)
