"""Read predictions and labels from Ultralytics' validators, in every release since 8.3.0.

Predictions are a tensor for each image in older releases and a dictionary of tensors in newer ones. Coordinates of
predictions and labels refer to the image that the model saw.
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


MATCHES = {"detect": "tp", "obb": "tp", "segment": "tp_m", "pose": "tp_p"}  # key in the validator's statistics, by task
TASKS = (*MATCHES, "classify")
USUAL_CONFIDENCES = (None, 0.001, 0.01)  # lowest confidence that validators keep by default, by release
THRESHOLD = 0.25  # lowest confidence that counts with these defaults, as in Ultralytics' confusion matrix
VISIBLE = 0.25  # lowest visibility or confidence of a keypoint that is shown, as in Ultralytics' plots
TOP = 5  # most probable classes of a classification that are shown


class ValidatorReader:
    """Reader of the batches of one validation, from before its first batch.

    A prediction counts from a confidence of ``threshold`` on.
    """

    def __init__(self, validator: Any) -> None:
        self._validator = validator
        self._task = validator.args.task
        confidence = validator.args.conf
        self.threshold = THRESHOLD if confidence in USUAL_CONFIDENCES else float(confidence)
        self._root = (validator.data or {}).get("path")
        self._evaluated_images = 0

    def on_batch_start(self) -> None:
        """Record the number of evaluated images before a batch."""
        if self._task != "classify":
            self._evaluated_images = len(self._stats()["conf"])

    def on_batch_end(self, preds: Any, batch: dict[str, Any]) -> Iterator[tuple[MistakeScore, Callable[[], Mistake]]]:
        """Yield a score and a mistake factory for each evaluated image.

        The predictions of a batch are those after non-maximum suppression, or the probabilities of the classes, shape
        (images, classes).

        Raises:
            NotImplementedError: The validator's statistics and the batch have different numbers of images.
        """
        if self._task == "classify":
            yield from self._classification_mistake(preds, batch)
            return
        images = preds[0] if isinstance(preds, tuple) else preds  # older releases add the prototypes of masks
        stats = self._stats()
        entries = range(self._evaluated_images, len(stats["conf"]))
        indices = list(range(len(images)))
        if len(entries) != len(images):  # older releases leave out an image with neither labels nor predictions
            labels = np.bincount(_array(batch["batch_idx"]).astype(int), minlength=len(images))
            indices = [index for index in indices if labels[index] or len(_confidence(images[index]))]
        if len(entries) != len(indices):
            msg = f"the validator keeps {len(entries)} entries for {len(indices)} images; this release is unknown"
            raise NotImplementedError(msg)
        for entry, index in zip(entries, indices):
            correct = _array(stats[MATCHES[self._task]][entry])[:, 0].astype(bool)  # at IoU 0.5
            confidence = _array(stats["conf"][entry])
            counted = confidence >= self.threshold
            labelled, wrong = len(stats["target_cls"][entry]), counted & ~correct
            missed = max(0, labelled - int((counted & correct).sum()))
            score = MistakeScore.of_detections(wrong, confidence, missed)
            yield score, _bind(self._detection_mistake, preds, batch, index, correct, score, labelled, int(wrong.sum()))

    def _stats(self) -> Any:
        """Return the validator's matches by image. Older releases keep them outside of the metrics."""
        return getattr(self._validator.metrics, "stats", None) or self._validator.stats

    # Detection, segmentation, pose and rotated boxes

    def _detection_mistake(
        self,
        preds: Any,
        batch: dict[str, Any],
        image_index: int,
        correct: np.ndarray,
        score: MistakeScore,
        labelled: int,
        wrong: int,
    ) -> Mistake:
        pred = self._as_dictionary(preds, batch, image_index)
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
            name=self._name(batch["im_file"][image_index]),
            rank=score,
            labelled=labelled,
            wrong=wrong,
            picture=_picture(batch["img"][image_index]),
            truth=self._ground_truth(batch, image_index),
            predictions=predictions,
        )

    def _as_dictionary(self, preds: Any, batch: dict[str, Any], image_index: int) -> dict[str, Any]:
        """Return the predictions of an image as newer releases store them."""
        images, prototypes = preds if isinstance(preds, tuple) else (preds, None)
        pred = images[image_index]
        if isinstance(pred, dict):
            return pred
        values: dict[str, Any] = {"bboxes": pred[:, :4], "conf": pred[:, 4], "cls": pred[:, 5]}
        if self._task == "obb":
            values["bboxes"] = pred[:, [0, 1, 2, 3, -1]]
        if self._task == "pose":
            values["keypoints"] = pred[:, 6:].view(len(pred), *self._validator.kpt_shape)
        if self._task == "segment":
            shape = batch["img"].shape[2:]
            values["masks"] = self._validator.process(prototypes[image_index], pred[:, 6:], pred[:, :4], shape=shape)
        return values

    def _ground_truth(self, batch: dict[str, Any], image_index: int) -> ImageAnnotations:
        labels = np.flatnonzero(_array(batch["batch_idx"]) == image_index)
        classes = _array(batch["cls"]).reshape(-1)[labels].astype(int)
        boxes = _array(batch["bboxes"])[labels]
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
            if self._validator.args.overlap_mask:  # for each pixel the number of its object, from 1 on
                truth.mask = np.append(0, classes + 1)[_subsample(_array(masks[image_index])).astype(int)].astype(
                    np.uint16
                )
            else:
                truth.mask = _label_map(masks[labels.tolist()], np.arange(len(labels)), classes)
        if "keypoints" in batch:
            truth.points = _visible_keypoints(
                _array(batch["keypoints"])[labels][:MAX_OBJECTS], classes[:MAX_OBJECTS], (1, 1)
            )
        return truth

    def _objects(self, classes: np.ndarray, boxes: np.ndarray, size: tuple[int, int]) -> ImageAnnotations:
        """Return objects. ``size`` is the image's width and height in the unit of ``boxes``."""
        classes = classes.astype(int)
        if self._task == "obb":
            return ImageAnnotations(classes, corners=_corners(boxes) / size)
        return ImageAnnotations(classes, boxes=np.clip(boxes / [*size, *size], 0, 1))

    # Classification

    def _classification_mistake(
        self, preds: Any, batch: dict[str, Any]
    ) -> Iterator[tuple[MistakeScore, Callable[[], Mistake]]]:
        predictions, targets = _array(preds).astype(float), _array(batch["cls"]).astype(int)
        for index, (probabilities, target) in enumerate(zip(predictions, targets)):
            guess = int(probabilities.argmax())
            score = MistakeScore(int(guess != target), round(float(probabilities[guess]), 6))
            yield score, _bind(self._wrong_predictions, batch, index, probabilities, int(target), score)

    def _wrong_predictions(
        self, batch: dict[str, Any], image_index: int, probabilities: np.ndarray, target: int, score: MistakeScore
    ) -> Mistake:
        best = np.argsort(-probabilities, kind="stable")[:TOP]
        picture = _picture(batch["img"][image_index])
        return Mistake(
            name=hashlib.sha256(picture).hexdigest(),  # a batch does not name its files, and their order is random
            rank=score,
            labelled=1,
            wrong=1,
            picture=picture,
            truth=ImageAnnotations(np.array([target]), confidence=probabilities[[target]]),
            predictions=ImageAnnotations(best, confidence=probabilities[best], correct=best == target),
        )

    def _name(self, file: Any) -> str:
        path = Path(file)
        return path.relative_to(self._root).as_posix() if self._root and path.is_relative_to(self._root) else path.name


def _bind(function: Callable[..., Mistake], *arguments: Any) -> Callable[[], Mistake]:
    return lambda: function(*arguments)


def _array(values: Any) -> np.ndarray:
    return np.asarray(values.detach().cpu().numpy() if hasattr(values, "detach") else values)


def _confidence(pred: Any) -> Any:
    return pred["conf"] if isinstance(pred, dict) else pred[:, 4]


def _picture(image: Any) -> bytes:
    """Encode an image of shape (channels, height, width), with values from 0 to 1, as JPEG."""
    pixels = _array((image.float() * 255).round().clamp(0, 255).byte()).transpose(1, 2, 0)
    colours = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1].repeat(3, axis=2)  # noqa: PLR2004
    return encode_picture(np.ascontiguousarray(colours))


def _subsample(mask: Any) -> Any:
    """Return every n-th pixel of masks, at most 320 on a side."""
    step = -(-max(mask.shape[-2:]) // MASK_SIDE)
    return mask[..., ::step, ::step]


def _label_map(masks: Any, order: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return 1 + class for each pixel, or 0. The first object in the order covers the others."""
    thin = _array(_subsample(masks[order.tolist()])) > 0.5  # noqa: PLR2004  # half covered
    labels = np.zeros(thin.shape[1:], np.uint16)
    for mask, index in zip(thin[::-1], classes[: len(thin)][::-1]):
        labels[mask] = index + 1
    return labels


def _visible_keypoints(
    keypoints: np.ndarray, classes: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the relative positions of visible keypoints and the class of each.

    Keypoints are x, y and, in most datasets, visibility, shape (N, K, 2 or 3). The size is in their unit.
    """
    xy = keypoints[..., :2] / size
    is_visible = keypoints[..., 2] >= VISIBLE if keypoints.shape[-1] > 2 else np.ones(xy.shape[:2], bool)  # noqa: PLR2004
    owners = np.broadcast_to(classes[:, None], xy.shape[:2])
    return xy[is_visible], owners[is_visible]


def _corners(boxes: np.ndarray) -> np.ndarray:
    """Return the corners, shape (N, 4, 2), of rotated boxes: x, y, width, height, radians, shape (N, 5)."""
    x, y, width, height, angle = boxes.T
    along = np.stack([np.cos(angle), np.sin(angle)], -1) * width[:, None] / 2
    across = np.stack([-np.sin(angle), np.cos(angle)], -1) * height[:, None] / 2
    centre = np.stack([x, y], -1)
    steps = (along + across, along - across, -along - across, -along + across)
    return np.stack([centre + step for step in steps], 1)
