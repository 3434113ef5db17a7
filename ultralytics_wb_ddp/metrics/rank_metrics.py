"""Measure each rank of a training, to show slow and waiting ranks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


RANKS_PREFIX = "ranks"
GIBIBYTE = 2**30


class RankTimer:
    """Timer of a rank. It reads the clock twice for each batch."""

    def __init__(self) -> None:
        now = time.perf_counter()
        self._epoch_began = self._ready_since = now
        self._trained = self._waited = self._validated = 0.0
        self._validation_began: float | None = None

    def on_train_epoch_start(self) -> None:
        """Start the time of an epoch."""
        self._epoch_began = self._ready_since = time.perf_counter()
        self._waited = self._validated = 0.0

    def on_train_batch_start(self) -> None:
        """Stop the time of waiting for a batch."""
        self._waited += time.perf_counter() - self._ready_since

    def on_train_batch_end(self) -> None:
        """Start the time of waiting for the next batch."""
        self._ready_since = time.perf_counter()

    def on_train_epoch_end(self) -> None:
        """Stop the time of training in this epoch."""
        self._trained = time.perf_counter() - self._epoch_began

    def on_val_start(self) -> None:
        """Start the time of a validation."""
        self._validation_began = time.perf_counter()

    def on_val_end(self) -> None:
        """Stop the time of a validation.

        Ultralytics calls this on rank 0 only. On the other ranks :meth:`report` stops the time.
        """
        if self._validation_began is not None:
            self._validated, self._validation_began = time.perf_counter() - self._validation_began, None

    def report(self, trainer: Any) -> dict[str, float]:
        """Return the numbers of the epoch, at its end.

        They are ``images_per_second`` while training, ``data_wait`` and ``validation`` in seconds, ``loss`` as the sum
        of its parts on this rank's images, and, on a GPU, ``memory``: PyTorch's peak allocation so far, in GiB.
        """
        self.on_val_end()
        images = len(trainer.train_loader.sampler)
        loss = trainer.tloss
        parts = loss.values() if isinstance(loss, dict) else [loss]
        numbers = {
            "images_per_second": images / self._trained if self._trained else 0.0,
            "data_wait": self._waited,
            "validation": self._validated,
            "loss": sum(sum(part.reshape(-1).tolist()) for part in parts),  # one transfer for each, no kernel
        }
        if trainer.device.type == "cuda":
            import torch

            numbers["memory"] = torch.cuda.max_memory_allocated(trainer.device) / GIBIBYTE
        return numbers


def ranks_row(reports: Mapping[int, Mapping[str, float]]) -> dict[str, float]:
    """Return the numbers of the ranks that have reported, and their spread, as a row.

    The names are ``ranks/<rank>/<number>``, and ``ranks/spread/<number>``: the highest minus the lowest.
    """
    row = {f"{RANKS_PREFIX}/{rank}/{name}": value for rank, report in reports.items() for name, value in report.items()}
    for name in dict.fromkeys(name for report in reports.values() for name in report):
        values = [report[name] for report in reports.values() if name in report]
        row[f"{RANKS_PREFIX}/spread/{name}"] = max(values) - min(values)
    return row
