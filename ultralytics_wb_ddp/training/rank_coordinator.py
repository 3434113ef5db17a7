"""Coordinate the ranks of one training: their values, beside their runs."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.distributed.rank_store import PendingRead, RankStore
from ultralytics_wb_ddp.metrics.mistake_collector import MistakeCollector
from ultralytics_wb_ddp.metrics.rank_metrics import RANKS_PREFIX, RankTimer, ranks_row
from ultralytics_wb_ddp.runs.rank_runs import RankRuns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ultralytics_wb_ddp.config.options import RunOptions
    from ultralytics_wb_ddp.runs.guarded_run import GuardedRun
    from ultralytics_wb_ddp.runs.handoff import Handoff


RANK_METRICS_TIMEOUT = 5.0  # seconds of reading an epoch's numbers in the background on rank 0
_training_numbers = itertools.count()  # all ranks run all trainings of a launch in the same order


class RankCoordinator(RankRuns):
    """Coordinator of one rank with the other ranks of its training.

    Args:
        options: The user's options.
        handoff: The launcher's run, or None.

    Attributes:
        timer: Timer of this rank; None in one process or without ``rank_metrics``.
        mistakes: Collector of this rank's mistakes; None without ``mistakes``.
        loss_names: Names of the losses, from rank 0.
        batches: Number of batches of each rank before this session, from rank 0; None if unknown.
    """

    def __init__(self, options: RunOptions, handoff: Handoff | None) -> None:
        super().__init__(options, handoff)
        self.timer = RankTimer() if self._is_several and options.rank_metrics else None
        self.mistakes = MistakeCollector(options.mistakes, self._topology) if options.mistakes else None
        self._last_reported_epoch = 0
        self._pending_rank_metrics: PendingRead | None = None  # numbers of the other ranks
        self.loss_names: tuple[str, ...] = ()
        self.batches: int | None = None

    @property
    def metric_prefix(self) -> str:
        """Prefix of this rank's metrics in a shared run. It is empty on rank 0 and in other runs."""
        is_secondary = self.plan and self.plan.mode == "shared" and self._topology and self._topology.rank
        return f"{RANKS_PREFIX}/{self._topology.rank}/" if is_secondary and self._topology else ""

    def connect(self) -> None:
        """Open the store that the ranks share.

        Every rank calls this at the same point of each training.
        """
        number = next(_training_numbers)
        if self.timer or self._others_log or (self._is_several and self.mistakes):
            self._store = RankStore(str(number))
        if self.mistakes:
            self.mistakes.store = self._store

    def publish_run(self, run: GuardedRun | None, loss_names: Sequence[str]) -> None:
        """Write rank 0's run and the losses' names to the store.

        Args:
            run: Run of rank 0; None if it does not log.
            loss_names: Names of the losses.
        """
        batches = run.record.batches if run and run.is_resumed else None
        self.publish(run, loss_names=list(loss_names), batches=batches)

    def open_rank_run(
        self, options: RunOptions, default_dir: Path | None = None, base: Handoff | None = None
    ) -> GuardedRun | None:
        """Open the run of this rank, on other ranks than 0, and take rank 0's values."""
        run = super().open_rank_run(options, default_dir, base)
        self.loss_names = tuple(self.invitation.get("loss_names", ()))
        self.batches = self.invitation.get("batches")
        return run

    def collect_mistakes(self, validator: Any) -> None:
        """Collect this rank's mistakes in the final evaluation.

        Args:
            validator: Validator at its start; validations during the training are ignored.
        """
        if self.mistakes:
            self.mistakes.attach(validator)

    def prefetch_rank_metrics(self, epoch: int) -> None:
        """Start to read the other ranks' numbers, on rank 0.

        Rank 0 saves its checkpoint while the answer is on its way.

        Args:
            epoch: Epoch, counted from 1, that all ranks have validated.
        """
        if (
            self.timer
            and self._store
            and self._topology
            and not self._topology.rank
            and epoch != self._last_reported_epoch
        ):
            self._pending_rank_metrics = self._store.read_async(self._rank_metrics_keys(epoch), RANK_METRICS_TIMEOUT)

    def _rank_metrics_keys(self, epoch: int) -> dict[str, int]:
        """Return the ranks by the store keys of their numbers."""
        ranks = range(1, self._topology.world_size if self._topology else 1)
        return {f"metrics/{epoch}/{rank}": rank for rank in ranks}

    def exchange_rank_metrics(self, trainer: Any, epoch: int) -> dict[str, float]:
        """Send this rank's numbers of an epoch to rank 0.

        After the final evaluation the rank's mistakes are sent, too.

        Args:
            trainer: The trainer at the end of an epoch.
            epoch: Epoch, counted from 1.

        Returns:
            On rank 0, the row of all ranks that have reported by now, without a wait for the others; on other ranks an
            empty dictionary.
        """
        if self.mistakes:
            self.mistakes.publish()
        if not self.timer or not self._store or not self._topology or epoch == self._last_reported_epoch:
            return {}
        self._last_reported_epoch = epoch
        numbers = self.timer.report(trainer)
        if self._topology.rank:
            self._store.write(f"metrics/{epoch}/{self._topology.rank}", numbers)
            return {}
        rank_of, pending, self._pending_rank_metrics = self._rank_metrics_keys(epoch), self._pending_rank_metrics, None
        reports = pending.result(0) if pending else {}
        if len(reports) < len(rank_of):
            reports = self._store.read(rank_of)
        return ranks_row({0: numbers, **{rank_of[key]: report for key, report in reports.items()}})

    def publish_end_of_epoch(self, epoch: int) -> None:
        """Tell the other ranks that log, on rank 0, that an epoch is over.

        Args:
            epoch: Epoch, counted from 1, whose checkpoint is saved.
        """
        if self._store and self._others_log:
            self._store.write(f"over/{epoch}", value=True)

    def on_end_of_epoch(self, epoch: int, action: Callable[[], None]) -> None:
        """Call a function in the background once rank 0 has published the end of an epoch.

        Args:
            epoch: Epoch, counted from 1.
            action: The function. It must not take long.
        """
        if self._store:
            self._store.call_when(f"over/{epoch}", action)

    def request_stop(self) -> None:
        """Ask rank 0 to stop the training on all ranks."""
        if self._store:
            self._store.write("stop", value=True)

    def stop_requested(self) -> bool:
        """Return on rank 0 whether another rank has requested a stop."""
        return bool(self._others_log and self._store and self._store.read(["stop"]))
