"""From trainer and validator objects to what W&B shows: rows, images, curves, tables; no inference, no network.

Keys and values are those of the stock callback, so that existing dashboards go on working.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ultralytics_wb_ddp.wandb_client.internals import plain_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future
    from contextlib import AbstractContextManager

    Guard = Callable[[str], AbstractContextManager[Any]]

__all__ = [
    "batch_row",
    "class_table",
    "curve_charts",
    "described_row",
    "images_of",
    "names_of",
    "speed_row",
    "train_row",
]

CURVE_POINTS = 100  # points of a curve, as in the stock callback
CURVE_CLASSES = 99  # W&B shows 10,000 rows of a table: the mean and 99 classes at 100 points
CLASSIFIED_COLUMNS = ["Class", "Instances", "P", "R", "F1"]
SPEED = "model/speed_PyTorch(ms)"  # of an inference in the validation
CURVE_COLUMNS = ["class", "y", "x"]


def train_row(trainer: Any, loss_names: Sequence[str] = ()) -> dict[str, float]:
    """Return ``train/*`` losses and ``lr/*`` learning rates at the end of a training epoch.

    Args:
        trainer: The trainer.
        loss_names: Names of the losses where the trainer does not know them: before 8.3.218 rank 0 alone does.
    """
    losses = trainer.label_loss_items(trainer.tloss, prefix="train")
    if loss_names and not isinstance(trainer.tloss, dict) and len(losses) < len(loss_names):
        losses = {f"train/{name}": round(float(loss), 5) for name, loss in zip(loss_names, trainer.tloss)}
    return {**losses, **trainer.lr}


def batch_row(trainer: Any, batch: int) -> Callable[[], dict[str, float]]:
    """Return what makes the row of the batch that was trained last: ``batch/*`` losses and ``batch/lr/*`` rates.

    The losses are those of this rank's images. To read them is to wait for the device, which can be done later, and
    elsewhere than in the training's thread; they leave it in one transfer.

    Args:
        trainer: The trainer.
        batch: Number of the batch, counted from 1 over all epochs.
    """
    losses, rates = trainer.loss_items, [group["lr"] for group in trainer.optimizer.param_groups]

    def make() -> dict[str, float]:
        import torch

        if isinstance(losses, dict):  # by name in newer releases, before that one tensor
            parts = torch.stack([part.detach() for part in losses.values()]).tolist()
            named = trainer.label_loss_items(dict(zip(losses, parts)), prefix="batch")
        else:
            named = trainer.label_loss_items(losses.detach().cpu(), prefix="batch")
        return {**named, **{f"batch/lr/pg{number}": float(rate) for number, rate in enumerate(rates)}, "batch": batch}

    return make


def model_row(trainer: Any) -> dict[str, Any]:
    """Return ``model/*``: parameters, operations of a copy of the model, and the speed of the last validation."""
    from ultralytics.utils.torch_utils import model_info_for_loggers

    return dict(model_info_for_loggers(trainer))


def described_row(trainer: Any, model: Future[dict[str, Any]] | None, *, is_measured: bool) -> dict[str, Any]:
    """Return ``model/*`` for the first epoch, without a speed where nothing was validated.

    Args:
        trainer: The trainer.
        model: What :func:`model_row` has returned, or is about to return, if that began before the validation.
        is_measured: Whether the epoch was validated.
    """
    row = model.result() if model else model_row(trainer)
    if SPEED not in row:
        return row
    return {**row, **speed_row(trainer)} if is_measured else {key: row[key] for key in row if key != SPEED}


def speed_row(trainer: Any) -> dict[str, float]:
    """Return the time that the last validation has taken for an image, in milliseconds."""
    return {SPEED: round(trainer.validator.speed["inference"], 3)}


def images_of(
    plots: Mapping[Path, Mapping[str, Any]], seen: dict[Path, float], guard: Guard = nullcontext
) -> dict[str, Any]:
    """Return the plots that are new or changed as images, by the name of their file.

    Args:
        plots: ``trainer.plots`` or ``validator.plots``: time of drawing, in seconds since 1970, by file.
        seen: Times of the plots that were shown before; updated. One that cannot be read is tried again.
        guard: What keeps the trouble with one plot, by its name, away from the others.
    """
    import wandb

    images = {}
    for file, details in list(plots.items()):  # a thread of Ultralytics may add to it meanwhile
        with guard(f"plot {file}"):
            drawn = details["timestamp"]
            if seen.get(file) != drawn:
                images[Path(file).stem] = wandb.Image(str(file))
                seen[file] = drawn
    return images


def curve_charts(metrics: Any, guard: Guard = nullcontext) -> dict[str, Any]:
    """Return a chart of each precision, recall and F1 curve: the mean and the classes.

    Beyond 99 classes a chart holds the mean and the classes that it hides most, those with the lowest and the highest
    mAP50-95; its title says so, and :func:`class_table` marks them.

    Args:
        metrics: ``validator.metrics`` after a validation.
        guard: What keeps the trouble with one chart, by its name, away from the others.
    """
    results = list(getattr(metrics, "curves_results", []))
    names = _class_names(metrics)
    titles = list(dict.fromkeys(metrics.curves)) if results else []  # some releases name box curves of poses twice
    shown = _shown_classes(metrics)
    charts = {}
    for title, (x, values, x_title, y_title) in zip(titles, results):
        with guard(f"chart {title}"):
            y = np.atleast_2d(np.asarray(values, dtype=float))
            if y.shape[0] == 0 or y.shape[1] != len(x):
                continue  # nothing was predicted
            chosen = [index for index in shown if index < len(y)]
            text = title if len(chosen) == len(y) else f"{title} ({_choice(len(chosen), len(y))})"
            charts[f"curves/{title}"] = _area_chart(x, y, chosen, names, text, x_title, y_title)
    return charts


def class_table(validator: Any) -> Any:
    """Return a table with a row for each class of the dataset, or None for a task without numbers per class.

    Columns: class, images and instances in the validation set (None where the release does not count them),
    precision, recall, F1 at the best confidence, mAP50, mAP75 and mAP50-95 of boxes, masks and keypoints, and whether
    the curve charts show the class. A class without instances has no numbers. In classification: class, instances,
    precision, recall and F1; there is no mean average precision.

    Args:
        validator: The validator after a validation.
    """
    metrics = validator.metrics
    if hasattr(metrics, "top1"):
        return plain_table(CLASSIFIED_COLUMNS, [str, int, float, float, float], _classified(validator))
    index_of = {int(class_id): index for index, class_id in enumerate(getattr(metrics, "ap_class_index", []))}
    parts = [
        (label, getattr(metrics, part))
        for label, part in (("Box", "box"), ("Mask", "seg"), ("Pose", "pose"))
        if len(getattr(getattr(metrics, part, None), "all_ap", ()))
    ]
    if not parts or not index_of:
        return None
    shown = set(_shown_classes(metrics))
    columns = ["Class", "Images", "Instances"]
    for label, _ in parts:
        columns += [f"{label}-{number}" for number in ("P", "R", "F1", "mAP50", "mAP75", "mAP50-95")]
    rows = []
    for class_id, name in metrics.names.items():
        index = index_of.get(int(class_id))
        row = [name, _count(validator, "nt_per_image", class_id), _count(validator, "nt_per_class", class_id)]
        for _, part in parts:
            row += [None] * 6 if index is None else _numbers(part, index)
        rows.append([*row, index in shown])
    types = [str, int, int, *[float] * (len(columns) - 3), bool]
    return plain_table([*columns, "In curves"], types, rows)


def names_of(validator: Any) -> dict[int, str]:
    """Return the name of each class; some releases keep them as a list, others as a dictionary."""
    names = validator.names
    return {int(index): str(name) for index, name in (names.items() if isinstance(names, dict) else enumerate(names))}


def _numbers(part: Any, index: int) -> list[float]:
    """Return precision, recall, F1, mAP50, mAP75 and mAP50-95 of one class, rounded as Ultralytics rounds them."""
    ap = part.all_ap[index]  # (10,): average precision at IoU 0.50, 0.55, ... 0.95
    return [round(float(value), 5) for value in (part.p[index], part.r[index], part.f1[index], ap[0], ap[5], ap.mean())]


def _classified(validator: Any) -> list[list[Any]]:
    """Return name, instances, precision, recall and F1 of each class of a classification."""
    matrix = np.asarray(validator.confusion_matrix.matrix)  # predicted by true class
    rows: list[list[Any]] = []
    for index, name in names_of(validator).items():
        right, predicted, instances = (
            float(n) for n in (matrix[index, index], matrix[index].sum(), matrix[:, index].sum())
        )
        of_both = 2 * right / (predicted + instances) if instances else None
        quotients = (right / predicted if predicted else None, right / instances if instances else None, of_both)
        rows.append([name, int(instances), *(value if value is None else round(value, 5) for value in quotients)])
    return rows


def _count(validator: Any, name: str, class_id: int) -> int | None:
    """Return a count per class, which older releases keep in the validator."""
    counts = getattr(validator.metrics, name, None)
    counts = getattr(validator, name, None) if counts is None else counts
    return int(counts[class_id]) if counts is not None and class_id < len(counts) else None


def _class_names(metrics: Any) -> list[str]:
    """Return the names of the classes that have curves, in the order of the curves.

    The stock callback takes the dataset's names in order, which names the wrong classes when one has no instances.
    """
    return [str(metrics.names[int(class_id)]) for class_id in getattr(metrics, "ap_class_index", [])]


def _shown_classes(metrics: Any) -> list[int]:
    """Return the classes that the curve charts show, as places in the order of the curves."""
    class_ids = getattr(metrics, "ap_class_index", [])
    if len(class_ids) <= CURVE_CLASSES:
        return list(range(len(class_ids)))
    by_quality = np.argsort(metrics.box.ap, kind="stable")
    lowest = CURVE_CLASSES - CURVE_CLASSES // 2
    return sorted(int(index) for index in (*by_quality[:lowest], *by_quality[len(by_quality) - CURVE_CLASSES // 2 :]))


def _choice(shown: int, total: int) -> str:
    """Say which classes a chart shows."""
    return f"mean and {shown} of {total} classes: lowest {shown - shown // 2} and highest {shown // 2} by mAP50-95"


def _area_chart(
    x: np.ndarray, y: np.ndarray, chosen: list[int], names: list[str], title: str, x_title: str, y_title: str
) -> Any:
    """Return W&B's chart of curves.

    Args:
        x: Places of the curves' points, shape (N,).
        y: Curves of all classes, shape (C, N).
        chosen: Classes to show, as places in ``y``.
        names: Names of all classes, length C.
        title: Title of the chart.
        x_title: Title of the x axis.
        y_title: Title of the y axis.
    """
    import wandb

    grid = np.linspace(x[0], x[-1], CURVE_POINTS).round(5)
    curves = [y.mean(axis=0), *(y[index] for index in chosen)]
    labels = ["mean", *(names[index] for index in chosen)]
    places = grid.round(3).tolist()
    rows = [
        [label, value, place]
        for label, curve in zip(labels, curves)
        for value, place in zip(np.interp(grid, x, curve).round(3).tolist(), places)
    ]
    return wandb.plot_table(
        "wandb/area-under-curve/v0",
        plain_table(CURVE_COLUMNS, [str, float, float], rows),
        fields={"x": "x", "y": "y", "class": "class"},
        string_fields={"title": title, "x-axis-title": x_title, "y-axis-title": y_title},
    )
