"""Coordinate the runs of the ranks of one launch: their base id, their ends and their exit codes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config.names import derived_id, safe_name
from ultralytics_wb_ddp.config.options import OFFLINE_MODES
from ultralytics_wb_ddp.config.validation import ConfigurationError
from ultralytics_wb_ddp.distributed.processes import has_dead_peer
from ultralytics_wb_ddp.distributed.rank_store import RankStore, has_address
from ultralytics_wb_ddp.distributed.signals import SIGTERM_EXIT_CODE
from ultralytics_wb_ddp.distributed.topology import RankPlan, Topology, plan_rank
from ultralytics_wb_ddp.runs.handoff import Handoff
from ultralytics_wb_ddp.runs.lifecycle import SharedRunWriter
from ultralytics_wb_ddp.runs.preemption import preempt_runs
from ultralytics_wb_ddp.runs.resolution import handoff_of_open_run, logging_ranks, open_run, resolve_rank
from ultralytics_wb_ddp.utils.errors import exit_code_of, set_exit_code
from ultralytics_wb_ddp.utils.logging import format_exception, logger
from ultralytics_wb_ddp.wandb_client.run_state import get_config, get_run_dir, is_shared, sync_command

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ultralytics_wb_ddp.config.options import RunOptions
    from ultralytics_wb_ddp.runs.guarded_run import GuardedRun


RUN_PUBLISH_TIMEOUT = 120.0  # seconds that rank 0 may take to open its run after the other ranks are ready
REPORT_TIMEOUT = 1.0  # seconds that a rank which ends waits for the store
WRITERS_CLOSE_TIMEOUT = 10.0  # seconds that other writers of a shared run may take to close it


class RankRuns:
    """The runs of one rank and of the other ranks of its launch.

    Args:
        options: The user's options.
        handoff: The launcher's run, or None.
        store_name: Name of the store, which all ranks give alike, for :meth:`open_store`.

    Attributes:
        run_mode: Run mode, which selects the ranks that log.
        plan: Run that this rank logs to; None if it does not log. Its id is derived from rank 0's later.
        invitation: Values that rank 0 has published with its run; empty on rank 0 and before they are read.
    """

    def __init__(self, options: RunOptions, handoff: Handoff | None, store_name: str = "") -> None:
        self._topology = Topology.from_env()
        self.run_mode, self._rank_scope = logging_ranks(options, handoff, os.environ)
        self.plan = self._plan_for("")
        self._is_several = self._topology is not None and self._topology.world_size > 1
        self._store_name = store_name
        self._store: RankStore | None = None
        self._others_log = self._is_several and (self.run_mode != "auto" or self._rank_scope == "worker")
        self._hosts_service = False  # whether other ranks of this node use this rank's wandb-core
        self.invitation: dict[str, Any] = {}

    def _plan_for(self, base_id: str) -> RankPlan | None:
        """Return the run that this rank logs to, by the id that the ids of all ranks' runs are derived from."""
        return plan_rank(self._topology, self.run_mode, self._rank_scope, base_id)

    @property
    def others_log(self) -> bool:
        """Whether other ranks than rank 0 log."""
        return self._others_log

    def open_store(self) -> None:
        """Open the named store, once. Rank 0 keeps it if neither torchrun nor PyTorch does yet."""
        if self._is_several and self._store is None and self._store_name:
            is_host = self._others_log and self._topology is not None and self._topology.rank == 0
            self._store = RankStore(self._store_name, connect_timeout=RUN_PUBLISH_TIMEOUT, hosts=is_host)

    def publish_failure(self, error: BaseException) -> None:
        """Tell the other ranks that log that rank 0 has no run and fails."""
        if self._store and self._others_log and self._topology and self._topology.rank == 0:
            self._store.write_many({"invitation": {"mode": "failed", "error": format_exception(error)}}, REPORT_TIMEOUT)

    def publish(self, run: GuardedRun | None, **further: Any) -> None:
        """Write rank 0's run to the store, for the other ranks that log.

        Args:
            run: Run of rank 0; None if it does not log.
            **further: Further values, which the other ranks find in their :attr:`invitation`.
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
                **further,
            }
            if is_shared(wandb_run):
                invitation["config"] = get_config(wandb_run)
        self._store.write("invitation", invitation)
        self._publish_service(run)

    def open_rank_run(
        self, options: RunOptions, default_dir: Path | None = None, base: Handoff | None = None
    ) -> GuardedRun | None:
        """Open the run of this rank, on other ranks than 0.

        Args:
            options: Options of the run.
            default_dir: Directory of the run, if the user did not set it. None leaves it to W&B.
            base: The run that this rank derives its own from, if rank 0 has published none.

        Returns:
            The run; None if this rank does not log, if rank 0 has no run, or if rank 0 has published none within 120
            seconds.

        Raises:
            ConnectionError: Rank 0 could not open its run and has failed.
            TimeoutError: Rank 0 has published no run, with ``on_error="raise"``.
        """
        if not self._topology or not self.plan or not (self._store or base):
            return None
        self.invitation = invitation = self._read_invitation(options, base)
        if invitation["mode"] == "disabled":
            return None
        base = Handoff(invitation["base_id"], invitation["project"], invitation["entity"], mode=invitation["mode"])
        plan = self._plan_for(base.run_id) or self.plan
        run_options = replace(options, dir=options.dir or (str(default_dir) if default_dir else None))
        writer = None
        if plan.mode == "shared":
            # Each writer has its own directory: W&B would give all writers on one machine the same one.
            place = run_options.dir or Path(os.environ.get("WANDB_DIR") or ".", "wandb")
            run_options = replace(run_options, dir=str(Path(place, f"rank-{self._topology.rank}")))
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

    def _read_invitation(self, options: RunOptions, base: Handoff | None) -> dict[str, Any]:
        """Return what rank 0 has published, or else the same for the run that all ranks know."""
        found = self._store.wait(["invitation"], RUN_PUBLISH_TIMEOUT) if self._store else {}
        invitation: dict[str, Any] = found.get("invitation", {})
        if invitation.get("mode") == "failed":
            msg = f"no W&B run for this rank: rank 0 could not open its run ({invitation['error']})"
            raise ConnectionError(msg)
        if invitation:
            return invitation
        missing = f"rank 0 has published no run in {RUN_PUBLISH_TIMEOUT:g} s"
        if base:
            if self._store:
                logger.warning("%s; this rank logs to the run of its own id, derived from %s", missing, base.run_id)
            mode = options.mode or os.environ.get("WANDB_MODE") or "online"
            mode = "offline" if mode in OFFLINE_MODES else mode
            return {"base_id": base.run_id, "project": base.project, "entity": base.entity, "mode": mode}
        if options.on_error == "raise":
            msg = f"no W&B run for this rank: {missing}; give the run an id that all ranks know, id= or WANDB_RUN_ID"
            raise TimeoutError(msg)
        logger.warning("no W&B run for this rank: %s; the training goes on without it", missing)
        return {"mode": "disabled"}

    def _writer(self, plan: RankPlan) -> SharedRunWriter:
        """Return this rank's writer of a shared run. It uses the wandb-core of the node's first rank."""
        assert self._topology  # noqa: S101  # the caller has checked it
        is_first = self._topology.local_rank == 0
        name = self._service_name()
        store = None if is_first else self._store
        service = store.wait([name], RUN_PUBLISH_TIMEOUT).get(name) if store else None
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

    def wait_for_writers(self) -> None:
        """Wait until other ranks have closed a shared run that needs this rank: its wandb-core, or its end of the run.

        The first rank of a node waits for the ranks of the node, which use its wandb-core. The rank that ends the run
        waits for all writers: after a later writer W&B would count the run as running. Both wait 10 seconds at most.
        """
        if self._store and self._topology and self.plan and self._hosts_service:
            first_rank = self._topology.rank
            ends_run_of_all = self.plan.primary and self._rank_scope == "global"
            size = self._topology.world_size if ends_run_of_all else self._topology.local_world_size
            other_ranks = range(first_rank + 1, first_rank + size)
            self._store.wait([f"closed/{rank}" for rank in other_ranks], WRITERS_CLOSE_TIMEOUT)

    def failed_exit_code(self) -> int:
        """Return the exit code that another rank has given to ``SystemExit``, or that of its SIGTERM, or 0."""
        if not self._store or not self._topology:
            return 0
        others = [rank for rank in range(self._topology.world_size) if rank != self._topology.rank]
        codes = self._store.read([f"closed/{rank}" for rank in others], REPORT_TIMEOUT).values()
        return next((code for code in codes if code), 0)

    def report_exit_code(self, exit_code: int) -> None:
        """Report the exit code of this rank, which ends at once, also if it does not log and has no store yet."""
        self.open_store()
        if self._store and self._topology:
            self._store.write_many({f"closed/{self._topology.rank}": exit_code}, REPORT_TIMEOUT)

    def exit_code_of(self, error: BaseException | None) -> int:
        """Return the exit code of this rank's end. Another rank's end may be its cause.

        Args:
            error: The exception that ends the rank; None without one. It keeps the exit code of the other rank.
        """
        if error is not None and not isinstance(error, (SystemExit, KeyboardInterrupt)):
            other_code = self.failed_exit_code()
            if other_code:
                set_exit_code(error, other_code)
        return exit_code_of(error)

    def terminate(self) -> None:
        """Tell the other ranks that SIGTERM ends this one, and preempt the runs of this process."""
        if not has_dead_peer():
            self.report_exit_code(SIGTERM_EXIT_CODE)
        preempt_runs()

    def close(self, exit_code: int = 0) -> None:
        """Report that this rank has closed its run, and close the store.

        Args:
            exit_code: Exit code that this rank has given to ``SystemExit``, or 0.
        """
        if self._store and self._topology:
            self._store.write(f"closed/{self._topology.rank}", exit_code)
            self._store.close()
            self._store = None


def find_base(run_id: str | None, options: RunOptions, env: Mapping[str, str]) -> Handoff | None:
    """Return the run from which each rank of a program can derive its own without an answer of rank 0.

    Args:
        run_id: Id that the user gave, or None.
        options: Options of the run.
        env: Environment variables. ``WANDB_RUN_ID`` and ``ULTRALYTICS_WB_DDP`` are read; without an address of the
            launch's store, also ``TORCHELASTIC_RUN_ID``, to which a restart adds its number.

    Returns:
        The run; None if rank 0 chooses it and publishes it in the store.

    Raises:
        ConfigurationError: The handoff in the environment is damaged.
    """
    if run_id:
        return Handoff(run_id, options.project, options.entity)
    handoff = Handoff.from_env(env)
    launch_id = env.get("TORCHELASTIC_RUN_ID", "")
    if handoff or has_address(env) or launch_id in {"", "none"}:  # torchrun's default is "none"
        return handoff
    attempt = env.get("TORCHELASTIC_RESTART_COUNT", "0")
    base_id = safe_name(launch_id)
    return Handoff(base_id if attempt == "0" else derived_id(base_id, attempt), options.project, options.entity)


def check_base(base: Handoff | None, env: Mapping[str, str], *, others_log: bool) -> None:
    """Refuse a program whose ranks cannot agree on the id of their runs.

    Raises:
        ConfigurationError: Several ranks log, rank 0 cannot publish an id, and none is known.
    """
    if others_log and base is None and not has_address(env):
        msg = (
            "MASTER_ADDR and MASTER_PORT are not set: the ranks that log cannot learn the run of rank 0; launch with "
            "torchrun, which sets them, or give all ranks the same id, by id= or WANDB_RUN_ID"
        )
        raise ConfigurationError(msg)
