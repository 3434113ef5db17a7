"""Build curve charts and the table of classes from a validator."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from ultralytics_wb_ddp.wandb_client.internals import table_of_plain_values

if TYPE_CHECKING:
    from ultralytics_wb_ddp.metrics.trainer_rows import Guard

CURVE_POINTS = 100  # as in the stock callback
CURVE_CLASSES = 99  # W&B shows 10,000 rows of a table: the mean and 99 classes at 100 points
CLASSIFIED_COLUMNS = ["Class", "Instances", "P", "R", "F1"]
CURVE_COLUMNS = ["class", "y", "x"]


def curve_charts(metrics: Any, guard: Guard = nullcontext) -> dict[str, Any]:
    """Return a chart of each precision, recall and F1 curve.

    The charts of ``validator.metrics`` have the names ``curves/<title>``. ``guard`` keeps a chart's errors from the
    others. A chart shows the mean and each class. With more than 99 classes it shows the mean and the classes that
    differ most from it, those with the lowest and the highest mAP50-95. Then its title names the selection, and
    :func:`class_table` marks the classes.
    """
    results = list(getattr(metrics, "curves_results", []))
    names = _curve_class_names(metrics)
    titles = list(dict.fromkeys(metrics.curves)) if results else []  # some releases name box curves of poses twice
    shown = _shown_classes(metrics)
    charts = {}
    for title, (x, values, x_title, y_title) in zip(titles, results):
        with guard(f"chart {title}"):
            y = np.atleast_2d(np.asarray(values, dtype=float))
            if y.shape[0] == 0 or y.shape[1] != len(x):
                continue  # nothing was predicted
            chosen = [index for index in shown if index < len(y)]
            text = title if len(chosen) == len(y) else f"{title} ({_selection_note(len(chosen), len(y))})"
            charts[f"curves/{title}"] = _area_chart(x, y, chosen, names, text, x_title, y_title)
    return charts


def class_table(validator: Any) -> Any:
    """Return a table with a row for each class of the dataset.

    Columns: class, images and instances in the validation set (None in releases that do not count them), precision,
    recall, F1 at the best confidence, mAP50, mAP75 and mAP50-95 of boxes, masks and keypoints, and whether the curve
    charts show the class. A class without instances has no numbers. A classification has the columns class, instances,
    precision, recall and F1, as it has no mean average precision. The table is None for a task without numbers per
    class.
    """
    metrics = validator.metrics
    if hasattr(metrics, "top1"):
        return table_of_plain_values(
            CLASSIFIED_COLUMNS, [str, int, float, float, float], _classification_rows(validator)
        )
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
        row = [
            name,
            _class_count(validator, "nt_per_image", class_id),
            _class_count(validator, "nt_per_class", class_id),
        ]
        for _, part in parts:
            row += [None] * 6 if index is None else _class_scores(part, index)
        rows.append([*row, index in shown])
    types = [str, int, int, *[float] * (len(columns) - 3), bool]
    return table_of_plain_values([*columns, "In curves"], types, rows)


def class_names(validator: Any) -> dict[int, str]:
    """Return the name of each class.

    Some releases store the names as a list, others as a dictionary.
    """
    names = validator.names
    return {int(index): str(name) for index, name in (names.items() if isinstance(names, dict) else enumerate(names))}


def _class_scores(part: Any, index: int) -> list[float]:
    """Return P, R, F1, mAP50, mAP75 and mAP50-95, rounded as in Ultralytics."""
    ap = part.all_ap[index]  # (10,): average precision at IoU 0.50, 0.55, ... 0.95
    return [round(float(value), 5) for value in (part.p[index], part.r[index], part.f1[index], ap[0], ap[5], ap.mean())]


def _classification_rows(validator: Any) -> list[list[Any]]:
    matrix = np.asarray(validator.confusion_matrix.matrix)  # predicted by true class
    rows: list[list[Any]] = []
    for index, name in class_names(validator).items():
        correct, predicted, instances = (
            float(n) for n in (matrix[index, index], matrix[index].sum(), matrix[:, index].sum())
        )
        f1 = 2 * correct / (predicted + instances) if instances else None
        scores = (correct / predicted if predicted else None, correct / instances if instances else None, f1)
        rows.append([name, int(instances), *(value if value is None else round(value, 5) for value in scores)])
    return rows


def _class_count(validator: Any, name: str, class_id: int) -> int | None:
    """Return a count of a class. Older releases keep the counts in the validator."""
    counts = getattr(validator.metrics, name, None)
    counts = getattr(validator, name, None) if counts is None else counts
    return int(counts[class_id]) if counts is not None and class_id < len(counts) else None


def _curve_class_names(metrics: Any) -> list[str]:
    """Return the names of the classes with curves, in their order.

    The stock callback takes the dataset's names in order: its names are wrong if a class has no instances.
    """
    return [str(metrics.names[int(class_id)]) for class_id in getattr(metrics, "ap_class_index", [])]


def _shown_classes(metrics: Any) -> list[int]:
    class_ids = getattr(metrics, "ap_class_index", [])
    if len(class_ids) <= CURVE_CLASSES:
        return list(range(len(class_ids)))
    by_quality = np.argsort(metrics.box.ap, kind="stable")
    lowest = CURVE_CLASSES - CURVE_CLASSES // 2
    return sorted(int(index) for index in (*by_quality[:lowest], *by_quality[len(by_quality) - CURVE_CLASSES // 2 :]))


def _selection_note(shown: int, total: int) -> str:
    return f"mean and {shown} of {total} classes: lowest {shown - shown // 2} and highest {shown // 2} by mAP50-95"


def _area_chart(
    x: np.ndarray, y: np.ndarray, chosen: list[int], names: list[str], title: str, x_title: str, y_title: str
) -> Any:
    """Return W&B's chart of curves.

    Args:
        x: x values of the curves' points, shape (N,).
        y: Curves of all classes, shape (C, N).
        chosen: Indices in ``y`` of the classes to show.
        names: Names of all classes, length C.
        title: Title of the chart.
        x_title: Title of the x axis.
        y_title: Title of the y axis.
    """
    import wandb

    grid = np.linspace(x[0], x[-1], CURVE_POINTS).round(5)
    curves = [y.mean(axis=0), *(y[index] for index in chosen)]
    labels = ["mean", *(names[index] for index in chosen)]
    x_values = grid.round(3).tolist()
    rows = [
        [label, value, x_value]
        for label, curve in zip(labels, curves)
        for value, x_value in zip(np.interp(grid, x, curve).round(3).tolist(), x_values)
    ]
    return wandb.plot_table(
        "wandb/area-under-curve/v0",
        table_of_plain_values(CURVE_COLUMNS, [str, float, float], rows),
        fields={"x": "x", "y": "y", "class": "class"},
        string_fields={"title": title, "x-axis-title": x_title, "y-axis-title": y_title},
    )
