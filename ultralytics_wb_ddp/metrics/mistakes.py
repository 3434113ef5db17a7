"""The images of a validation with the most mistakes: what is kept of one, how it is ranked, how it travels.

Nothing here knows of a trainer or of W&B.
"""

from __future__ import annotations

import base64
import heapq
import io
import itertools
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


MAX_PICTURE_SIDE = 640  # pixels that a kept picture has at most, in width and height
MASK_SIDE = 320  # pixels of a mask; Ultralytics' own have a quarter of the image's as a rule
MAX_OBJECTS = 300  # objects of each kind that are kept of an image at most, the surest first
QUALITY = 90  # of JPEG
COORDINATE_DIGITS = 4  # of a place relative to the picture: a tenth of a pixel


@dataclass(frozen=True, order=True)
class MistakeScore:
    """How bad an image is; the worst is the greatest.

    Attributes:
        mistakes: Objects that were missed plus predictions that are wrong; in classification 1 for a wrong class.
        confidence: That of the surest wrong prediction, from 0 to 1.
    """

    mistakes: int
    confidence: float

    @classmethod
    def of_detections(cls, wrong: np.ndarray, confidence: np.ndarray, missed: int) -> MistakeScore:
        """Rank an image by what the validator has matched.

        Args:
            wrong: Which predictions count and are wrong, shape (P,).
            confidence: Confidence of each prediction, shape (P,).
            missed: Number of labelled objects that no prediction found.
        """
        return cls(missed + int(wrong.sum()), round(float(confidence[wrong].max(initial=0.0)), 6))


@dataclass
class ImageAnnotations:
    """What an image shows, according to its labels or to the model. Places are relative to width and height.

    Attributes:
        classes: Class of each object, shape (N,).
        boxes: Boxes as left, top, right, bottom, shape (N, 4); without rows where there are none.
        corners: Corners of rotated boxes, shape (N, 4, 2); without rows where there are none.
        points: Visible keypoints, shape (M, 2), and the class of the object that each belongs to, shape (M,).
        mask: 1 + class for each pixel that an object covers, 0 elsewhere; None where there are no masks.
        confidence: Confidence of each object, shape (N,); of a label, that of the model in it; empty if unknown.
        correct: Whether each prediction is right, shape (N,); empty for labels.
    """

    classes: np.ndarray
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))
    corners: np.ndarray = field(default_factory=lambda: np.zeros((0, 4, 2)))
    points: tuple[np.ndarray, np.ndarray] = field(default_factory=lambda: (np.zeros((0, 2)), np.zeros(0, int)))
    mask: np.ndarray | None = None
    confidence: np.ndarray = field(default_factory=lambda: np.zeros(0))
    correct: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))

    def to_json(self) -> dict[str, Any]:
        """Return plain lists."""
        lists = {
            "classes": self.classes.tolist(),
            "boxes": self.boxes.round(COORDINATE_DIGITS).tolist(),
            "corners": self.corners.round(COORDINATE_DIGITS).tolist(),
            "points": [self.points[0].round(COORDINATE_DIGITS).tolist(), self.points[1].tolist()],
            "confidence": self.confidence.round(COORDINATE_DIGITS).tolist(),
            "correct": self.correct.tolist(),
        }
        if self.mask is None:
            return lists
        return {**lists, "mask": [*self.mask.shape, _text(zlib.compress(self.mask.astype("<u2").tobytes()))]}

    @classmethod
    def from_json(cls, lists: Mapping[str, Any]) -> ImageAnnotations:
        """Return what :meth:`to_json` was called on."""
        mask = None
        if "mask" in lists:
            height, width, text = lists["mask"]
            mask = np.frombuffer(zlib.decompress(base64.b64decode(text)), "<u2").reshape(height, width)
        points, owners = lists["points"]
        return cls(
            classes=np.array(lists["classes"], int),
            boxes=np.array(lists["boxes"], float).reshape(-1, 4),
            corners=np.array(lists["corners"], float).reshape(-1, 4, 2),
            points=(np.array(points, float).reshape(-1, 2), np.array(owners, int)),
            mask=mask,
            confidence=np.array(lists["confidence"], float),
            correct=np.array(lists["correct"], bool),
        )


@dataclass
class Mistake:
    """An image of the validation set that the model got wrong.

    Attributes:
        name: File of the image, within the dataset; in classification, where it is not known, a hash of the picture.
        rank: How bad it is.
        labelled: Number of labelled objects.
        wrong: Number of predictions that are wrong.
        picture: The image as the model saw it, as JPEG, at most 640 pixels wide and high.
        truth: What its labels say.
        predictions: What the model says, from the threshold of confidence on; in classification the five surest.
    """

    name: str
    rank: MistakeScore
    labelled: int
    wrong: int
    picture: bytes
    truth: ImageAnnotations
    predictions: ImageAnnotations

    def to_json(self) -> dict[str, Any]:
        """Return plain lists."""
        return {
            "name": self.name,
            "rank": [self.rank.mistakes, self.rank.confidence],
            "labelled": self.labelled,
            "wrong": self.wrong,
            "picture": _text(self.picture),
            "truth": self.truth.to_json(),
            "predictions": self.predictions.to_json(),
        }

    @classmethod
    def from_json(cls, lists: Mapping[str, Any]) -> Mistake:
        """Return what :meth:`to_json` was called on."""
        return cls(
            name=lists["name"],
            rank=MistakeScore(*lists["rank"]),
            labelled=lists["labelled"],
            wrong=lists["wrong"],
            picture=base64.b64decode(lists["picture"]),
            truth=ImageAnnotations.from_json(lists["truth"]),
            predictions=ImageAnnotations.from_json(lists["predictions"]),
        )


class WorstImages:
    """The worst images so far, so many at most.

    Each takes up a JPEG of 640 x 640 pixels, two masks of 320 x 320 pixels and 300 objects of each kind at most: below
    1.5 MB, and about 0.1 MB for a photograph.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._heap: list[tuple[MistakeScore, int, Mistake]] = []  # the least bad of them first
        self._number = itertools.count(0, -1)  # of two that are as bad, the one that came first stays

    def add_if_worse(self, rank: MistakeScore, make: Callable[[], Mistake]) -> None:
        """Take an image in if it is among the worst.

        Args:
            rank: How bad it is; an image without mistakes is never taken.
            make: Makes what is kept of it; called only if it is taken.
        """
        if rank.mistakes < 1 or self._size < 1 or (len(self._heap) >= self._size and rank <= self._heap[0][0]):
            return
        entry = (rank, next(self._number), make())
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heapreplace(self._heap, entry)

    def sorted(self) -> list[Mistake]:
        """Return them, the worst first."""
        return [mistake for _, _, mistake in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]


def select_worst(found: Iterable[tuple[str, MistakeScore]], size: int) -> list[int]:
    """Return which of many images, by their names and ranks, are the worst, as places in ``found``; the worst first.

    An image that is there twice counts once: distributed samplers repeat some to make the ranks' shares equal.
    """
    order = sorted(enumerate(found), key=lambda entry: (-entry[1][1].mistakes, -entry[1][1].confidence, entry[1][0]))
    names: set[str] = set()
    chosen: list[int] = []
    for place, (name, _) in order:
        if name not in names and len(chosen) < size:
            names.add(name)
            chosen.append(place)
    return chosen


def encode_picture(pixels: np.ndarray) -> bytes:
    """Return an image as a small JPEG.

    Args:
        pixels: Red, green and blue from 0 to 255, shape (height, width, 3).
    """
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((MAX_PICTURE_SIDE, MAX_PICTURE_SIDE))
    target = io.BytesIO()
    image.save(target, "JPEG", quality=QUALITY)
    return target.getvalue()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
