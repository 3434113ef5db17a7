"""Define the mistakes in an image and their order.

This file knows neither trainers nor W&B.
"""

from __future__ import annotations

import heapq
import io
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


MAX_PICTURE_SIDE = 640  # maximum width and height of a picture, in pixels
MASK_SIDE = (
    320  # maximum width and height of a mask, in pixels; Ultralytics' masks usually have a quarter of the image's
)
MAX_OBJECTS = 300  # maximum number of labels and of predictions of an image, the surest first
QUALITY = 90  # of a JPEG, from 0 to 100


@dataclass(frozen=True, order=True)
class MistakeScore:
    """Score of an image's mistakes; the worst image has the greatest score.

    Attributes:
        mistakes: Number of missed objects plus number of wrong predictions; in classification 1 for a wrong class.
        confidence: Confidence of the surest wrong prediction, from 0 to 1.
    """

    mistakes: int
    confidence: float

    @classmethod
    def of_detections(cls, wrong: np.ndarray, confidence: np.ndarray, missed: int) -> MistakeScore:
        """Return the score of an image from the validator's matches.

        Args:
            wrong: Whether each prediction counts and is wrong, shape (P,).
            confidence: Confidence of each prediction, shape (P,).
            missed: Number of labelled objects without a matching prediction.
        """
        return cls(missed + int(wrong.sum()), round(float(confidence[wrong].max(initial=0.0)), 6))


@dataclass
class ImageAnnotations:
    """Labels or predictions of an image. Coordinates are relative to width and height.

    Attributes:
        classes: Class of each object, shape (N,).
        boxes: Boxes as left, top, right, bottom, shape (N, 4); no rows without boxes.
        corners: Corners of rotated boxes, shape (N, 4, 2); no rows without rotated boxes.
        points: Visible keypoints, shape (M, 2), and the class of each keypoint's object, shape (M,).
        mask: 1 + class for each pixel that an object covers, 0 for other pixels; None without masks.
        confidence: Confidence of the model in each object or label, shape (N,); empty if unknown.
        correct: Whether each prediction is right, shape (N,); empty for labels.
    """

    classes: np.ndarray
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))
    corners: np.ndarray = field(default_factory=lambda: np.zeros((0, 4, 2)))
    points: tuple[np.ndarray, np.ndarray] = field(default_factory=lambda: (np.zeros((0, 2)), np.zeros(0, int)))
    mask: np.ndarray | None = None
    confidence: np.ndarray = field(default_factory=lambda: np.zeros(0))
    correct: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))


@dataclass
class Mistake:
    """Image of the validation set with a mistake of the model.

    Attributes:
        name: Path of the image relative to the dataset; in classification, where it is unknown, a hash of the picture.
        picture: JPEG of the image that the model saw, at most 640 pixels wide and high.
        predictions: Predictions with at least the confidence threshold; in classification the five surest.
    """

    name: str
    rank: MistakeScore
    labelled: int
    wrong: int
    picture: bytes
    truth: ImageAnnotations
    predictions: ImageAnnotations


class WorstImages:
    """Collection of the worst images so far.

    An image needs less than 1.5 MB, a photograph about 0.1 MB: it holds at most a JPEG of 640 x 640 pixels, two masks
    of 320 x 320 pixels and 300 objects of each kind.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._heap: list[tuple[MistakeScore, int, Mistake]] = []  # the least bad image first
        self._number = itertools.count(0, -1)  # of two equally bad images the first one stays

    def add_if_worse(self, rank: MistakeScore, make: Callable[[], Mistake]) -> None:
        """Add an image if it has mistakes and is among the worst. Only then ``make`` creates it."""
        if rank.mistakes < 1 or self._size < 1 or (len(self._heap) >= self._size and rank <= self._heap[0][0]):
            return
        entry = (rank, next(self._number), make())
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heapreplace(self._heap, entry)

    def sorted(self) -> list[Mistake]:
        """Return the mistakes, the worst first."""
        return [mistake for _, _, mistake in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]


def select_worst(images: Iterable[tuple[str, MistakeScore]], size: int) -> list[int]:
    """Return the indices of the worst images, the worst first.

    Two images with one name count once: distributed samplers repeat images to make the ranks' shares equal.
    """
    order = sorted(enumerate(images), key=lambda entry: (-entry[1][1].mistakes, -entry[1][1].confidence, entry[1][0]))
    names: set[str] = set()
    chosen: list[int] = []
    for index, (name, _) in order:
        if name not in names and len(chosen) < size:
            names.add(name)
            chosen.append(index)
    return chosen


def encode_picture(pixels: np.ndarray) -> bytes:
    """Encode an image as a JPEG of at most 640 x 640 pixels.

    The pixels are red, green and blue from 0 to 255, shape (height, width, 3).
    """
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((MAX_PICTURE_SIDE, MAX_PICTURE_SIDE))
    target = io.BytesIO()
    image.save(target, "JPEG", quality=QUALITY)
    return target.getvalue()
