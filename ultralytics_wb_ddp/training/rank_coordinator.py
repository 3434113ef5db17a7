"""Coordinate the ranks of one training: their runs and their values."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.distributed.rank_store import PendingRead, RankStore
from ultralytics_wb_ddp.distributed.topology import RankPlan, Topology, plan_rank
from ultralytics_wb_ddp.metrics.mistake_collector import MistakeCollector
from ultralytics_wb_ddp.metrics.rank_metrics import RANKS_PREFIX, RankTimer, ranks_row
from ultralytics_wb_ddp.runs.handoff import Handoff
from ultralytics_wb_ddp.runs.lifecycle import SharedRunWriter
from ultralytics_wb_ddp.runs.resolution import handoff_of_open_run, logging_ranks, open_run, resolve_rank
from ultralytics_wb_ddp.utils.logging import logger
from ultralytics_wb_ddp.wandb_client.run_state import get_config, get_run_dir, is_shared, sync_command

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ultralytics_wb_ddp.config.options import RunOptions
    from ultralytics_wb_ddp.runs.guarded_run import GuardedRun


RUN_PUBLISH_TIMEOUT = 120.0  # seconds that rank 0 may take to open its run after the other ranks are ready
RANK_METRICS_TIMEOUT = 5.0  # seconds of reading an epoch's numbers in the background on rank 0
REPORT_TIMEOUT = 1.0  # seconds that a rank which is terminated waits for the store
LOCAL_CLOSE_TIMEOUT = 10.0  # seconds that other ranks of a node may take to close their runs before the wandb-core ends
_training_numbers = itertools.count()  # all ranks run all trainings of a launch in the same order


class RankCoordinator:
    """Coordinator of one rank with the other ranks of its training.

    Args:
        options: The user's options.
        handoff: The launcher's run, or None.

    Attributes:
        run_mode: Run mode, which selects the ranks that log.
        plan: Run that this rank logs to; None if it does not log. Its id is derived from rank 0's later.
        timer: Timer of this rank; None in one process or without ``rank_metrics``.
        mistakes: Collector of this rank's mistakes; None without ``mistakes``.
        loss_names: Names of the losses, from rank 0.
        batches: Number of batches of each rank before this session, from rank 0; None if unknown.
    """

    def __init__(self, options: RunOptions, handoff: Handoff | None) -> None:
        self._topology = Topology.from_env()
        self.run_mode, self._rank_scope = logging_ranks(options, handoff, os.environ)
        self.plan = self._plan_for("")
        is_several = self._topology is not None and self._topology.world_size > 1
        self.timer = RankTimer() if is_several and options.rank_metrics else None
        self.mistakes = MistakeCollector(options.mistakes, self._topology) if options.mistakes else None
        self._is_several = is_several
        self._store: RankStore | None = None
        self._others_log = is_several and (self.run_mode != "auto" or self._rank_scope == "worker")
        self._hosts_service = False  # whether other ranks of this node use this rank's wandb-core
        self._last_reported_epoch = 0
        self._pending_rank_metrics: PendingRead | None = None  # numbers of the other ranks
        self.loss_names: tuple[str, ...] = ()
        self.batches: int | None = None

    def _plan_for(self, base_id: str) -> RankPlan | None:
        """Return the run that this rank logs to, by the id that the ids of all ranks' runs are derived from."""
        return plan_rank(self._topology, self.run_mode, self._rank_scope, base_id)

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
        if not self._store or not self._others_log:
            return
        invitation: dict[str, Any] = {"mode": "disabled"}
        if run:
            wandb_run = run.wandb_run
            mode = "offline" if wandb_run.offline else "online"
            invitation = {
                "base_id": run.base_id,
                "project": wandb_run.project,
                "entity": wandb_run.entity,
                "mode": mode,
            }
            invitation["loss_names"] = list(loss_names)
            invitation["batches"] = run.record.batches if run.is_resumed else None
            if is_shared(wandb_run):
                invitation["config"] = get_config(wandb_run)
        self._store.write("invitation", invitation)
        self._publish_service(run)

    def open_rank_run(self, options: RunOptions, save_dir: Path) -> GuardedRun | None:
        """Open the run of this rank, on other ranks than 0.

        Args:
            options: Options of the run.
            save_dir: Directory of the training.

        Returns:
            The run; None if this rank does not log, if rank 0 has no run, or if rank 0 has published none within 120
            seconds.
        """
        if not self._store or not self._topology or not self.plan:
            return None
        invitation = self._store.wait(["invitation"], RUN_PUBLISH_TIMEOUT).get("invitation")
        if invitation is None:
            msg = "no W&B run for this rank: rank 0 has published no run in %g s; the training goes on without it"
            logger.warning(msg, RUN_PUBLISH_TIMEOUT)
            return None
        if invitation["mode"] == "disabled":
            return None
        self.loss_names, self.batches = tuple(invitation["loss_names"]), invitation["batches"]
        base = Handoff(invitation["base_id"], invitation["project"], invitation["entity"], mode=invitation["mode"])
        plan = self._plan_for(base.run_id) or self.plan
        run_options = replace(options, dir=options.dir or str(save_dir))
        writer = None
        if plan.mode == "shared":
            # Each writer has its own directory: W&B would give all writers on one machine the same one.
            run_options = replace(
                run_options, dir=str(Path(run_options.dir or save_dir, f"rank-{self._topology.rank}"))
            )
            writer = self._writer(plan)
        is_first = self._topology.local_rank == 0
        config = invitation.get("config", {})
        run = open_run(resolve_rank(run_options, base, plan, config=config, writer=writer, measures=is_first))
        if run and writer and base.mode == "offline":
            msg = "what this rank logs to run %s is written to disk, send it after that of rank 0 with: %s"
            logger.warning(msg, base.run_id, sync_command(get_run_dir(run.wandb_run)))
        if is_first:
            self._publish_service(run)
        return run

    def _writer(self, plan: RankPlan) -> SharedRunWriter:
        """Return this rank's writer of a shared run. It uses the wandb-core of the node's first rank."""
        assert self._store  # noqa: S101  # the callers have checked both
        assert self._topology  # noqa: S101
        is_first = self._topology.local_rank == 0
        name = self._service_name()
        service = None if is_first else self._store.wait([name], RUN_PUBLISH_TIMEOUT).get(name)
        label = plan.label or f"rank-{self._topology.rank}"
        return SharedRunWriter(label, plan.primary, ends_run=plan.primary, measures=is_first, service=service)

    def _service_name(self) -> str:
        first_rank = self._topology.rank - self._topology.local_rank if self._topology else 0
        return f"service/{first_rank}"

    def _publish_service(self, run: GuardedRun | None) -> None:
        """Write the token of this wandb-core. The other ranks of the node read it."""
        if self._store and self.plan and self.plan.mode == "shared":
            self._hosts_service = run is not None
            token = handoff_of_open_run(run.wandb_run).service if run else None
            self._store.write(self._service_name(), token)

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

    def wait_for_local_ranks(self) -> None:
        """Wait until the other ranks of this node have closed their runs.

        Only the first rank of a node that shares its wandb-core waits, 10 seconds at most.
        """
        if self._store and self._topology and self._hosts_service:
            first_rank = self._topology.rank
            other_ranks = range(first_rank + 1, first_rank + self._topology.local_world_size)
            self._store.wait([f"closed/{rank}" for rank in other_ranks], LOCAL_CLOSE_TIMEOUT)

    def failed_exit_code(self) -> int:
        """Return the exit code that another rank has given to ``SystemExit``, or that of its SIGTERM, or 0."""
        if not self._store or not self._topology:
            return 0
        others = [rank for rank in range(self._topology.world_size) if rank != self._topology.rank]
        codes = self._store.read([f"closed/{rank}" for rank in others]).values()
        return next((code for code in codes if code), 0)

    def report_exit_code(self, exit_code: int) -> None:
        """Report the exit code of this rank, which ends at once."""
        if self._store and self._topology:
            self._store.write_many({f"closed/{self._topology.rank}": exit_code}, REPORT_TIMEOUT)

    def close(self, exit_code: int = 0) -> None:
        """Report that this rank has closed its run, and close the store.

        Args:
            exit_code: Exit code that this rank has given to ``SystemExit``, or 0.
        """
        if self._store and self._topology:
            self._store.write(f"closed/{self._topology.rank}", exit_code)
            self._store.close()
            self._store = None
