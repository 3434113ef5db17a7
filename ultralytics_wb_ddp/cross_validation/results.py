"""The metrics of the trainings of a group: read from their summaries, remembered, and their statistics."""

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


QUERY_TIMEOUT = 10.0  # seconds that W&B has for each answer
RUN_QUERY = """
query Run($project: String!, $entity: String!, $name: String!) {
  project(name: $project, entityName: $entity) { run(name: $name) { id name state summaryMetrics } }
}
"""


@dataclass(frozen=True)
class Statistics:
    """One metric over the trainings of a group.

    Attributes:
        n: Number of trainings that have it.
        mean: Mean.
        std: Sample standard deviation, with n - 1 as its divisor; None of a single training.
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
        """Return the statistics of one value or more."""
        std = statistics.stdev(values) if len(values) > 1 else None
        return cls(len(values), statistics.fmean(values), std, min(values), max(values))

    def __str__(self) -> str:
        """Return them as one writes them."""
        return f"{self.mean:.4g}" if self.std is None else f"{self.mean:.4g} ± {self.std:.2g}"


def select_metrics(summary: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, float]:
    """Return the metrics that a run's summary holds.

    Args:
        summary: The summary. Of a metric of the training it holds the last evaluation, under ``final/``, and the best
            value; the former is the metric.
        wanted: Names of metrics, with ``*`` for any characters.
    """
    found = {}
    for key in sorted(summary, key=lambda key: key.startswith(FINAL_PREFIX)):
        name, value = key.removeprefix(FINAL_PREFIX), summary[key]
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        if is_number and math.isfinite(value) and any(fnmatchcase(name, pattern) for pattern in wanted):
            found[name] = float(value)
    return found


def load_finished_results(
    config: WandbConfig, run_ids: Sequence[str], wanted: Sequence[str], file: Path
) -> dict[int, dict[str, float]]:
    """Return the metrics of the runs that have finished, by their place among all.

    Args:
        config: How the runs are made.
        run_ids: Ids of the runs.
        wanted: Names of metrics, with ``*`` for any characters.
        file: Where metrics are kept on this machine, for a W&B that cannot be asked.

    Raises:
        Trouble: W&B does not answer, with ``on_error="raise"``.
    """
    mode = config.mode or os.environ.get("WANDB_MODE", "online")
    if mode == "disabled":
        return {}
    if mode == "online":
        try:
            return _query_wandb(config, run_ids, wanted)
        except Exception as trouble:
            if config.on_error == "raise":
                raise
            logger.warning("W&B does not say which runs of the group have finished: %s; %s is read", trouble, file)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        kept = {run_ids.index(run_id): dict(metrics) for run_id, metrics in content.items() if run_id in run_ids}
    except (OSError, ValueError, TypeError, AttributeError):  # absent or damaged: nothing is known
        return {}
    return dict(sorted(kept.items()))


def _query_wandb(config: WandbConfig, run_ids: Sequence[str], wanted: Sequence[str]) -> dict[int, dict[str, float]]:
    """Ask W&B for the runs that have finished."""
    from ultralytics_wb_ddp.wandb_client.server import VIEWER, find_server

    server = find_server(config.api_key, timeout=QUERY_TIMEOUT)
    entity = config.entity or os.environ.get("WANDB_ENTITY")
    entity = entity or (server.ask("Viewer", VIEWER).get("viewer") or {}).get("entity") or ""
    found = {}
    for place, run_id in enumerate(run_ids):
        answer = server.ask("Run", RUN_QUERY, project=config.project or "", entity=entity, name=run_id)
        run = (answer.get("project") or {}).get("run") or {}
        metrics = select_metrics(json.loads(run.get("summaryMetrics") or "{}"), wanted)
        if metrics and run.get("state") == "finished":
            found[place] = metrics
    return found
