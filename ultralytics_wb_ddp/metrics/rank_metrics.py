"""What each rank of a training measures of itself, so that a slow or starving one is seen in the one run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


RANKS_PREFIX = "ranks"
GIBIBYTE = 2**30


class RankTimer:
    """The clock of a rank in an epoch. It reads the time twice a batch, and nothing else."""

    def __init__(self) -> None:
        now = time.perf_counter()
        self._epoch_began = self._ready_since = now
        self._trained = self._waited = self._validated = 0.0
        self._validation_began: float | None = None

    def on_train_epoch_start(self) -> None:
        """Begin an epoch."""
        self._epoch_began = self._ready_since = time.perf_counter()
        self._waited = self._validated = 0.0

    def on_train_batch_start(self) -> None:
        """End the wait for a batch."""
        self._waited += time.perf_counter() - self._ready_since

    def on_train_batch_end(self) -> None:
        """Begin the wait for the next batch."""
        self._ready_since = time.perf_counter()

    def on_train_epoch_end(self) -> None:
        """End the part of the epoch that trains."""
        self._trained = time.perf_counter() - self._epoch_began

    def on_val_start(self) -> None:
        """Begin a validation."""
        self._validation_began = time.perf_counter()

    def on_val_end(self) -> None:
        """End a validation; Ultralytics tells rank 0 alone, for the others it ends with the epoch."""
        if self._validation_began is not None:
            self._validated, self._validation_began = time.perf_counter() - self._validation_began, None

    def report(self, trainer: Any) -> dict[str, float]:
        """Return the numbers of the epoch.

        Args:
            trainer: The trainer at the end of the epoch.

        Returns:
            ``images_per_second`` of the part that trains, seconds of waiting for data (``data_wait``) and of validation
            (``validation``), ``loss`` as the sum of its parts on the rank's own images, and ``memory``, the most that
            PyTorch has held on the device so far in GiB; without an accelerator there is no memory.
        """
        self.on_val_end()
        images = len(trainer.train_loader.sampler)
        loss = trainer.tloss
        parts = loss.values() if isinstance(loss, dict) else [loss]
        numbers = {
            "images_per_second": images / self._trained if self._trained else 0.0,
            "data_wait": self._waited,
            "validation": self._validated,
            "loss": float(sum(float(part.sum()) for part in parts)),
        }
        if trainer.device.type == "cuda":
            import torch

            numbers["memory"] = torch.cuda.max_memory_allocated(trainer.device) / GIBIBYTE
        return numbers


def ranks_row(reports: Mapping[int, Mapping[str, float]]) -> dict[str, float]:
    """Return the part of a row that holds what the ranks have reported, and how far they are apart.

    Args:
        reports: The numbers of each rank that has reported.

    Returns:
        ``ranks/<rank>/<number>``, and ``ranks/spread/<number>``: the highest less the lowest.
    """
    row = {f"{RANKS_PREFIX}/{rank}/{name}": value for rank, report in reports.items() for name, value in report.items()}
    for name in dict.fromkeys(name for report in reports.values() for name in report):
        values = [report[name] for report in reports.values() if name in report]
        row[f"{RANKS_PREFIX}/spread/{name}"] = max(values) - min(values)
    return row
