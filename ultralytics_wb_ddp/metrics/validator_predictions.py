"""What Ultralytics' validators have of an image once its batch is evaluated, in every release since 8.3.0.

Predictions are a tensor for each image in older releases and a dictionary of tensors in newer ones; their places, and
those of the labels, are in the image that the model saw.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ultralytics_wb_ddp.metrics.mistakes import (
    MASK_SIDE,
    MAX_OBJECTS,
    ImageAnnotations,
    Mistake,
    MistakeScore,
    encode_picture,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


MATCHES = {"detect": "tp", "obb": "tp", "segment": "tp_m", "pose": "tp_p"}  # what the validator has matched, by task
TASKS = (*MATCHES, "classify")
USUAL_CONFIDENCES = (None, 0.001, 0.01)  # what validators keep predictions from unless told otherwise
THRESHOLD = 0.25  # confidence from which on a prediction counts then, as in Ultralytics' confusion matrix
VISIBLE = 0.25  # visibility or confidence from which on a keypoint is shown, as in Ultralytics' plots
TOP = 5  # classes of a classification that are shown


class ValidatorReader:
    """Reads the batches of one validation.

    Args:
        validator: The validator, when it begins.
    """

    def __init__(self, validator: Any) -> None:
        self._validator = validator
        self._task = validator.args.task
        confidence = validator.args.conf
        self.threshold = THRESHOLD if confidence in USUAL_CONFIDENCES else float(confidence)
        self._root = (validator.data or {}).get("path")
        self._known = 0

    def on_batch_start(self) -> None:
        """Note how much the validator knows before it evaluates a batch."""
        if self._task != "classify":
            self._known = len(self._stats()["conf"])

    def on_batch_end(self, preds: Any, batch: dict[str, Any]) -> Iterator[tuple[MistakeScore, Callable[[], Mistake]]]:
        """Yield each image that the validator has evaluated: how bad it is, and what makes its mistake.

        Args:
            preds: Predictions of a batch after non-maximum suppression, or the probabilities of the classes.
            batch: The batch with its labels.
        """
        if self._task == "classify":
            yield from self._classification_mistake(preds, batch)
            return
        images = preds[0] if isinstance(preds, tuple) else preds  # beside masks' prototypes in older releases
        stats = self._stats()
        entries = range(self._known, len(stats["conf"]))
        places = list(range(len(images)))
        if len(entries) != len(images):  # older releases leave out an image with neither labels nor predictions
            labels = np.bincount(_array(batch["batch_idx"]).astype(int), minlength=len(images))
            places = [place for place in places if labels[place] or len(_confidence(images[place]))]
        if len(entries) != len(places):
            msg = f"the validator keeps {len(entries)} entries for {len(places)} images; this release is unknown"
            raise NotImplementedError(msg)
        for entry, place in zip(entries, places):
            correct = _array(stats[MATCHES[self._task]][entry])[:, 0].astype(bool)  # at IoU 0.5
            confidence = _array(stats["conf"][entry])
            counted = confidence >= self.threshold
            labelled, wrong = len(stats["target_cls"][entry]), counted & ~correct
            missed = max(0, labelled - int((counted & correct).sum()))
            rank = MistakeScore.of_detections(wrong, confidence, missed)
            yield rank, _bind(self._detection_mistake, preds, batch, place, correct, rank, labelled, int(wrong.sum()))

    def _stats(self) -> Any:
        """Return what the validator has matched, by image."""
        return getattr(self._validator.metrics, "stats", None) or self._validator.stats

    # Detection and its kin

    def _detection_mistake(
        self,
        preds: Any,
        batch: dict[str, Any],
        place: int,
        correct: np.ndarray,
        rank: MistakeScore,
        labelled: int,
        wrong: int,
    ) -> Mistake:
        pred = self._as_dictionary(preds, batch, place)
        confidence = _array(pred["conf"])
        order = np.argsort(-confidence, kind="stable")
        order = order[confidence[order] >= self.threshold][:MAX_OBJECTS]
        height, width = batch["img"].shape[2:]
        predictions = self._objects(_array(pred["cls"])[order], _array(pred["bboxes"])[order], (width, height))
        predictions.confidence, predictions.correct = confidence[order], correct[order]
        if "masks" in pred:
            predictions.mask = _label_map(pred["masks"], order, predictions.classes)
        if "keypoints" in pred:
            predictions.points = _visible_keypoints(
                _array(pred["keypoints"])[order], predictions.classes, (width, height)
            )
        return Mistake(
            name=self._name(batch["im_file"][place]),
            rank=rank,
            labelled=labelled,
            wrong=wrong,
            picture=_picture(batch["img"][place]),
            truth=self._ground_truth(batch, place),
            predictions=predictions,
        )

    def _as_dictionary(self, preds: Any, batch: dict[str, Any], place: int) -> dict[str, Any]:
        """Return the predictions of an image in the form that releases have today."""
        images, prototypes = preds if isinstance(preds, tuple) else (preds, None)
        pred = images[place]
        if isinstance(pred, dict):
            return pred
        values: dict[str, Any] = {"bboxes": pred[:, :4], "conf": pred[:, 4], "cls": pred[:, 5]}
        if self._task == "obb":
            values["bboxes"] = pred[:, [0, 1, 2, 3, -1]]
        if self._task == "pose":
            values["keypoints"] = pred[:, 6:].view(len(pred), *self._validator.kpt_shape)
        if self._task == "segment":
            shape = batch["img"].shape[2:]
            values["masks"] = self._validator.process(prototypes[place], pred[:, 6:], pred[:, :4], shape=shape)
        return values

    def _ground_truth(self, batch: dict[str, Any], place: int) -> ImageAnnotations:
        mine = np.flatnonzero(_array(batch["batch_idx"]) == place)
        classes = _array(batch["cls"]).reshape(-1)[mine].astype(int)
        boxes = _array(batch["bboxes"])[mine]
        if self._task == "obb":
            height, width = batch["img"].shape[2:]
            scaled = boxes * [width, height, width, height, 1]
            truth = self._objects(classes[:MAX_OBJECTS], scaled[:MAX_OBJECTS], (width, height))
        else:
            centre, half = boxes[:, :2], boxes[:, 2:4] / 2
            truth = self._objects(
                classes[:MAX_OBJECTS], np.hstack([centre - half, centre + half])[:MAX_OBJECTS], (1, 1)
            )
        if "masks" in batch and self._task == "segment":
            masks = batch["masks"]
            if self._validator.args.overlap_mask:  # the number of the object, from 1 on, for each pixel
                truth.mask = np.append(0, classes + 1)[_subsample(_array(masks[place])).astype(int)].astype(np.uint16)
            else:
                truth.mask = _label_map(masks[mine.tolist()], np.arange(len(mine)), classes)
        if "keypoints" in batch:
            truth.points = _visible_keypoints(
                _array(batch["keypoints"])[mine][:MAX_OBJECTS], classes[:MAX_OBJECTS], (1, 1)
            )
        return truth

    def _objects(self, classes: np.ndarray, boxes: np.ndarray, size: tuple[int, int]) -> ImageAnnotations:
        """Return objects whose boxes are given in units of which the image has ``size``."""
        classes = classes.astype(int)
        if self._task == "obb":
            return ImageAnnotations(classes, corners=_corners(boxes) / size)
        return ImageAnnotations(classes, boxes=np.clip(boxes / [*size, *size], 0, 1))

    # Classification

    def _classification_mistake(
        self, preds: Any, batch: dict[str, Any]
    ) -> Iterator[tuple[MistakeScore, Callable[[], Mistake]]]:
        scores, targets = _array(preds).astype(float), _array(batch["cls"]).astype(int)
        for place, (score, target) in enumerate(zip(scores, targets)):
            guess = int(score.argmax())
            rank = MistakeScore(int(guess != target), round(float(score[guess]), 6))
            yield rank, _bind(self._wrong_predictions, batch, place, score, int(target), rank)

    def _wrong_predictions(
        self, batch: dict[str, Any], place: int, score: np.ndarray, target: int, rank: MistakeScore
    ) -> Mistake:
        best = np.argsort(-score, kind="stable")[:TOP]
        picture = _picture(batch["img"][place])
        return Mistake(
            name=hashlib.sha256(picture).hexdigest(),  # a batch does not tell its files, and their order is random
            rank=rank,
            labelled=1,
            wrong=1,
            picture=picture,
            truth=ImageAnnotations(np.array([target]), confidence=score[[target]]),
            predictions=ImageAnnotations(best, confidence=score[best], correct=best == target),
        )

    def _name(self, file: Any) -> str:
        """Return the name of an image, within the dataset where that is possible."""
        path = Path(file)
        return path.relative_to(self._root).as_posix() if self._root and path.is_relative_to(self._root) else path.name


def _bind(function: Callable[..., Mistake], *arguments: Any) -> Callable[[], Mistake]:
    return lambda: function(*arguments)


def _array(values: Any) -> np.ndarray:
    """Return a tensor, on whatever device, or an array as an array."""
    return np.asarray(values.detach().cpu().numpy() if hasattr(values, "detach") else values)


def _confidence(pred: Any) -> Any:
    return pred["conf"] if isinstance(pred, dict) else pred[:, 4]


def _picture(image: Any) -> bytes:
    """Return an image of a batch, shape (channels, height, width) with values from 0 to 1, as JPEG."""
    pixels = _array((image.float() * 255).round().clamp(0, 255).byte()).transpose(1, 2, 0)
    colours = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1].repeat(3, axis=2)  # noqa: PLR2004
    return encode_picture(np.ascontiguousarray(colours))


def _subsample(mask: Any) -> Any:
    """Return every n-th pixel of masks, shape (..., height, width), so that no more than 320 are left on a side."""
    step = -(-max(mask.shape[-2:]) // MASK_SIDE)
    return mask[..., ::step, ::step]


def _label_map(masks: Any, order: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return 1 + class for each pixel; where objects overlap, the first in the order counts."""
    thin = _array(_subsample(masks[order.tolist()])) > 0.5  # noqa: PLR2004  # half covered
    labels = np.zeros(thin.shape[1:], np.uint16)
    for mask, index in zip(thin[::-1], classes[: len(thin)][::-1]):
        labels[mask] = index + 1
    return labels


def _visible_keypoints(
    keypoints: np.ndarray, classes: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of visible keypoints, and the class that each belongs to.

    Args:
        keypoints: x, y and, as a rule, visibility, shape (N, K, 2 or 3).
        classes: Class of each object, shape (N,).
        size: Width and height in the unit of the keypoints.
    """
    places = keypoints[..., :2] / size
    seen = keypoints[..., 2] >= VISIBLE if keypoints.shape[-1] > 2 else np.ones(places.shape[:2], bool)  # noqa: PLR2004
    owners = np.broadcast_to(classes[:, None], places.shape[:2])
    return places[seen], owners[seen]


def _corners(boxes: np.ndarray) -> np.ndarray:
    """Return the corners, shape (N, 4, 2), of rotated boxes: centre, width, height, radians, shape (N, 5)."""
    x, y, width, height, angle = boxes.T
    along = np.stack([np.cos(angle), np.sin(angle)], -1) * width[:, None] / 2
    across = np.stack([-np.sin(angle), np.cos(angle)], -1) * height[:, None] / 2
    centre = np.stack([x, y], -1)
    steps = (along + across, along - across, -along - across, -along + across)
    return np.stack([centre + step for step in steps], 1)
