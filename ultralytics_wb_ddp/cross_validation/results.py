"""Read the metrics of a group's runs and compute their statistics."""

from __future__ import annotations

import json
import math
import os
import statistics
from dataclasses import dataclass
from fnmatch import fnmatchcase
from numbers import Real
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.runs.run_record import FINAL_PREFIX
from ultralytics_wb_ddp.utils.logging import logger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ultralytics_wb_ddp.config.options import WandbConfig


QUERY_TIMEOUT = 10.0  # seconds for each answer of the W&B server
RUN_QUERY = """
query Run($project: String!, $entity: String!, $name: String!) {
  project(name: $project, entityName: $entity) { run(name: $name) { id name state summaryMetrics } }
}
"""


@dataclass(frozen=True)
class Statistics:
    """Statistics of one metric over the trainings of a group.

    Attributes:
        n: Number of trainings with the metric.
        mean: Mean.
        std: Sample standard deviation, with the divisor n - 1; None for a single training.
        min: Lowest value.
        max: Highest value.
    """

    n: int
    mean: float
    std: float | None
    min: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Statistics:
        """Return the statistics of one or more values."""
        std = statistics.stdev(values) if len(values) > 1 else None
        return cls(len(values), statistics.fmean(values), std, min(values), max(values))

    def __str__(self) -> str:
        """Return the mean and the standard deviation, as ``mean ± std``."""
        return f"{self.mean:.4g}" if self.std is None else f"{self.mean:.4g} ± {self.std:.2g}"


def select_metrics(summary: Mapping[str, Any], patterns: Sequence[str]) -> dict[str, float]:
    """Return the metrics of a run's summary whose names match patterns, with ``*`` for any characters.

    A metric of the training is there twice: as the last evaluation, under ``final/``, and as the best value. The last
    evaluation counts.
    """
    metrics = {}
    for key in sorted(summary, key=lambda key: key.startswith(FINAL_PREFIX)):
        name, value = key.removeprefix(FINAL_PREFIX), summary[key]
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        if is_number and math.isfinite(value) and any(fnmatchcase(name, pattern) for pattern in patterns):
            metrics[name] = float(value)
    return metrics


def load_finished_results(
    config: WandbConfig, run_ids: Sequence[str], patterns: Sequence[str], file: Path
) -> dict[int, dict[str, float]]:
    """Return the metrics of the finished runs, by their index in ``run_ids``.

    The local file with the metrics is read if W&B cannot be asked.

    Raises:
        ServerError: W&B does not answer, with ``on_error="raise"``.
    """
    mode = config.mode or os.environ.get("WANDB_MODE", "online")
    if mode == "disabled":
        return {}
    if mode == "online":
        try:
            return _query_wandb(config, run_ids, patterns)
        except Exception as trouble:
            if config.on_error == "raise":
                raise
            logger.warning("W&B does not say which runs of the group have finished: %s; %s is read", trouble, file)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        results = {run_ids.index(run_id): dict(metrics) for run_id, metrics in content.items() if run_id in run_ids}
    except (OSError, ValueError, TypeError, AttributeError):  # the file is absent or damaged
        return {}
    return dict(sorted(results.items()))


def _query_wandb(config: WandbConfig, run_ids: Sequence[str], patterns: Sequence[str]) -> dict[int, dict[str, float]]:
    from ultralytics_wb_ddp.wandb_client.server import find_server

    server = find_server(config.api_key, timeout=QUERY_TIMEOUT)
    entity = config.entity or os.environ.get("WANDB_ENTITY")
    entity = entity or server.default_entity()
    results = {}
    for index, run_id in enumerate(run_ids):
        answer = server.ask("Run", RUN_QUERY, project=config.project or "", entity=entity, name=run_id)
        run = (answer.get("project") or {}).get("run") or {}
        metrics = select_metrics(json.loads(run.get("summaryMetrics") or "{}"), patterns)
        if metrics and run.get("state") == "finished":
            results[index] = metrics
    return results
