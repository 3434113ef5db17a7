"""The ranks of one training together: which run each of them gets, and what they tell each other."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.distributed.rank_store import PendingRead, RankStore
from ultralytics_wb_ddp.distributed.topology import RankPlan, Topology, plan_nodes, plan_rank
from ultralytics_wb_ddp.metrics.mistake_collector import MistakeCollector
from ultralytics_wb_ddp.metrics.rank_metrics import RANKS_PREFIX, RankTimer, ranks_row
from ultralytics_wb_ddp.runs.handoff import Handoff
from ultralytics_wb_ddp.utils.logging import logger
from ultralytics_wb_ddp.wandb_client.run_state import is_shared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ultralytics_wb_ddp.config.options import RunOptions
    from ultralytics_wb_ddp.runs.guarded_run import GuardedRun


RUN_PUBLISH_TIMEOUT = 120.0  # seconds that rank 0 may take to open its run after the others have got ready to train
RANK_METRICS_TIMEOUT = 5.0  # seconds that the numbers of an epoch are looked for while rank 0 has other things to do
LOCAL_CLOSE_TIMEOUT = (
    10.0  # seconds that the others of a node may take to close their runs before its wandb-core is closed
)
_training_numbers = itertools.count()  # every rank goes through all trainings of a launch, in the same order


class RankCoordinator:
    """The other ranks as one of them sees them; a training in one process has none.

    Attributes:
        run_mode: Which ranks log.
        plan: The run that this rank logs to; None if it does not log. Its id is to be derived from rank 0's.
        meter: The clock of this rank; None where nobody wants to know.
        mistakes: What this rank's validator gets wrong; None where nobody wants to know.
        loss_names: Names of the losses, as rank 0 has told them.
        batches: How many batches each rank had trained before this session, as rank 0 has told; None if it has not.
    """

    def __init__(self, run_mode: str, rank_scope: str, options: RunOptions) -> None:
        self._topology = Topology.from_env()
        self.run_mode, self._rank_scope = run_mode, rank_scope
        self.plan = self.plan_for("")
        is_several = self._topology is not None and self._topology.world_size > 1
        self.timer = RankTimer() if is_several and options.rank_metrics else None
        self.mistakes = MistakeCollector(options.mistakes, self._topology) if options.mistakes else None
        self._is_several = is_several
        self._group = options.group
        self._store: RankStore | None = None
        self._others_log = is_several and (run_mode != "auto" or rank_scope == "worker")
        self._hosts_service = False  # whether others of this node use this rank's wandb-core
        self._last_reported_epoch = 0
        self._pending_rank_metrics: PendingRead | None = (
            None  # the numbers of the other ranks, while they are on their way
        )
        self.loss_names: tuple[str, ...] = ()
        self.batches: int | None = None

    def plan_for(self, base_id: str) -> RankPlan | None:
        """Return the run that this rank logs to, given the id that the runs of all ranks are derived from."""
        return plan_rank(self._topology, self.run_mode, self._rank_scope, base_id)

    def node_plans(self, base_id: str) -> dict[str, RankPlan]:
        """Return the run of the first rank of each node, where each node has its own, given the same."""
        plans = plan_nodes(self._topology, self.run_mode, self._rank_scope, base_id)
        return {node: plan.within(self._group) for node, plan in plans.items()}

    @property
    def metric_prefix(self) -> str:
        """What the names of this rank's own numbers begin with in a run that it shares with others."""
        is_guest = self.plan and self.plan.mode == "shared" and self._topology and self._topology.rank
        return f"{RANKS_PREFIX}/{self._topology.rank}/" if is_guest and self._topology else ""

    def connect(self) -> None:
        """Get in touch with the others; every rank does it at the same place of each training."""
        number = next(_training_numbers)
        if self.timer or self._others_log or (self._is_several and self.mistakes):
            self._store = RankStore(str(number))
        if self.mistakes:
            self.mistakes.store = self._store

    def publish_run(self, session: GuardedRun | None, loss_names: Sequence[str]) -> None:
        """On rank 0, tell the others which run it logs to, and what the losses are called."""
        if not self._store or not self._others_log:
            return
        invitation: dict[str, Any] = {"mode": "disabled"}
        if session:
            run = session.wandb_run
            mode = "offline" if run.offline else "online"
            invitation = {"base_id": session.base_id, "project": run.project, "entity": run.entity, "mode": mode}
            invitation["loss_names"] = list(loss_names)
            invitation["batches"] = session.record.batches if session.is_resumed else None
            if is_shared(run):
                from ultralytics_wb_ddp.wandb_client.run_state import get_config

                invitation["config"] = get_config(run)
        self._store.write("invitation", invitation)
        self._publish_service(session)

    def open_rank_run(self, options: RunOptions, save_dir: Path) -> GuardedRun | None:
        """On another rank that logs, get its run.

        Args:
            options: How the run is made.
            save_dir: Directory of the training.
        """
        if not self._store or not self._topology or not self.plan:
            return None
        from ultralytics_wb_ddp.runs.resolution import open_rank_run

        invitation = self._store.wait(["invitation"], RUN_PUBLISH_TIMEOUT).get("invitation")
        if invitation is None:
            msg = "no W&B run for this rank: rank 0 has not said within %g s which; the training goes on without it"
            logger.warning(msg, RUN_PUBLISH_TIMEOUT)
            return None
        if invitation["mode"] == "disabled":
            return None
        self.loss_names, self.batches = tuple(invitation["loss_names"]), invitation["batches"]
        base = Handoff(invitation["base_id"], invitation["project"], invitation["entity"], mode=invitation["mode"])
        plan = self.plan_for(base.run_id) or self.plan
        made = replace(options, dir=options.dir or str(save_dir))
        writer = None
        if plan.mode == "shared":
            # In a directory of its own: those of several writers of a run on one machine would have the same name.
            made = replace(made, dir=str(Path(made.dir or save_dir, f"rank-{self._topology.rank}")))
            writer = self._writer(plan)
        is_first = self._topology.local_rank == 0
        config = invitation.get("config", {})
        session = open_rank_run(made, plan, base, config=config, writer=writer, measures=is_first)
        if is_first:
            self._publish_service(session)
        return session

    def _writer(self, plan: RankPlan) -> Any:
        """Return how this rank shares the run: with the wandb-core of its node's first rank."""
        from ultralytics_wb_ddp.runs.lifecycle import SharedRunWriter

        assert self._store  # noqa: S101  # the callers have checked both
        assert self._topology  # noqa: S101
        is_first = self._topology.local_rank == 0
        name = self._service_name()
        service = None if is_first else self._store.wait([name], RUN_PUBLISH_TIMEOUT).get(name)
        label = plan.label or f"rank-{self._topology.rank}"
        return SharedRunWriter(label, plan.primary, ends_run=plan.primary, measures=is_first, service=service)

    def _service_name(self) -> str:
        first = self._topology.rank - self._topology.local_rank if self._topology else 0
        return f"service/{first}"

    def _publish_service(self, session: GuardedRun | None) -> None:
        """On the first rank of a node, have the others of it use its wandb-core."""
        if self._store and self.plan and self.plan.mode == "shared":
            from ultralytics_wb_ddp.runs.open_runs import handoff_of_open_run

            self._hosts_service = session is not None
            token = handoff_of_open_run(session.wandb_run).service if session else None
            self._store.write(self._service_name(), token)

    def collect_mistakes(self, validator: Any) -> None:
        """Have this rank's mistakes collected where a validator begins the final evaluation."""
        if self.mistakes:
            self.mistakes.attach(validator)

    def prefetch_rank_metrics(self, epoch: int) -> None:
        """On rank 0, look for the numbers of the other ranks while it saves its checkpoint: the answer takes a while.

        Args:
            epoch: The epoch, counted from 1, that all ranks have validated.
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
        """Return the ranks by where their numbers of an epoch are put."""
        ranks = range(1, self._topology.world_size if self._topology else 1)
        return {f"metrics/{epoch}/{rank}": rank for rank in ranks}

    def exchange_rank_metrics(self, trainer: Any, epoch: int) -> dict[str, float]:
        """At the end of an epoch, tell rank 0 the numbers of this rank; after the final evaluation, its mistakes.

        Args:
            trainer: The trainer.
            epoch: The epoch, counted from 1.

        Returns:
            On rank 0, the numbers of all ranks that have reported by now; nobody is waited for.
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
        places, reports, self._pending_rank_metrics = self._rank_metrics_keys(epoch), self._pending_rank_metrics, None
        found = reports.result(0) if reports else {}
        if len(found) < len(places):
            found = self._store.read(places)
        return ranks_row({0: numbers, **{places[place]: theirs for place, theirs in found.items()}})

    def request_stop(self) -> None:
        """Have rank 0, which alone can end the training in all ranks, know that somebody wants that."""
        if self._store:
            self._store.write("stop", value=True)

    def stop_requested(self) -> bool:
        """Return, on rank 0, whether another rank has asked to stop."""
        return bool(self._others_log and self._store and self._store.read(["stop"]))

    def wait_for_local_ranks(self) -> None:
        """On the first rank of a node that shares its wandb-core, let the others close their runs first."""
        if self._store and self._topology and self._hosts_service:
            first = self._topology.rank
            others = range(first + 1, first + self._topology.local_world_size)
            self._store.wait([f"closed/{rank}" for rank in others], LOCAL_CLOSE_TIMEOUT)

    def close(self) -> None:
        """Say that this rank has closed its run, and part."""
        if self._store and self._topology:
            self._store.write(f"closed/{self._topology.rank}", value=True)
            self._store.close()
            self._store = None
