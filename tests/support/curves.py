"""Validation metrics of any number of classes, without a validation."""

from __future__ import annotations

import numpy as np
from ultralytics.utils.metrics import DetMetrics, ap_per_class


def detection_metrics(classes: int, labelled: range) -> DetMetrics:
    """Return the metrics of a detector that finds four of five objects.

    Args:
        classes: Number of classes.
        labelled: Classes that have objects.
    """
    rng = np.random.default_rng(0)
    metrics = DetMetrics()
    metrics.names = {index: f"class {index}" for index in range(classes)}
    target = labelled.start + np.concatenate(
        [np.arange(len(labelled)), rng.integers(0, len(labelled), 5 * len(labelled))]
    )
    guess = np.where(rng.random(len(target)) < 0.8, target, rng.integers(0, len(labelled), len(target)))
    right = (guess == target)[:, None] & (rng.random((len(target), 10)) < np.linspace(0.9, 0.3, 10))
    metrics.box.nc = classes
    confidence = rng.random(len(target))
    metrics.box.update(ap_per_class(right, confidence, guess, target, names=metrics.names)[2:])
    return metrics
