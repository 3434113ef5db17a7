"""The example of a sweep, in the size of a test."""

from __future__ import annotations

from support.paths import EXAMPLES, TINY

EXAMPLE = EXAMPLES / "sweep.yaml"
SMALL = [f"job.model={TINY}", "job.train.epochs=1", "job.train.imgsz=64", "job.train.workers=0"]
SMALL += ["job.train.plots=false", "job.train.deterministic=false", "parameters.batch.values=[8]"]
