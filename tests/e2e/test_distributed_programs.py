"""Distributed programs that log with ``wandb_init``: all run modes and rank scopes, and how their ranks end."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from wandb_server import WandbServer
from wandb_server.store import StoredRun

from support.jobs import NIGHTLY, Job, LaunchAgents, RunJob, wait_until_closed
from ultralytics_wb_ddp import RankPlan, Topology, plan_rank

SCENARIO = "programs.py"
MODES = list(itertools.product(("auto", "new", "shared"), ("global", "worker")))
ALWAYS = {("shared", "global"), ("new", "worker")}  # one run of all ranks, and a run of each rank with its node's group
CELLS = [pytest.param(*mode, marks=() if mode in ALWAYS else NIGHTLY) for mode in MODES]


@dataclass(frozen=True)
class Launch:
    """A program that has logged in several modes, one after the other."""

    nodes: int
    processes: int
    directory: Path
    server: WandbServer

    @property
    def ranks(self) -> range:
        return range(self.nodes * self.processes)

    def runs(self, mode: str, scope: str) -> dict[str, StoredRun]:
        return {run.id: run for run in self.server.runs if run.project == f"{mode}-{scope}"}

    def given(self, mode: str, scope: str) -> list[str | None]:
        """The run that each rank was given."""
        return [noted(self.directory, f"{mode}-{scope}", rank) for rank in self.ranks]

    def plans(self, mode: str, scope: str) -> list[RankPlan | None]:
        """The run that each rank should have, by the id that rank 0 chose."""
        first = str(self.given(mode, scope)[0])
        suffix = "-worker-0" if scope == "worker" and self.nodes > 1 else ""
        base = first.removesuffix(suffix + ("-rank-0" if mode == "new" else ""))
        places = [
            Topology(rank, rank % self.processes, len(self.ranks), self.processes, rank // self.processes, self.nodes)
            for rank in self.ranks
        ]
        return [plan_rank(place, mode, scope, base) for place in places]


def noted(directory: Path, name: str, rank: int = 0) -> Any:
    return json.loads((directory / f"{name}-{rank}.json").read_text())


def modes_of(request: pytest.FixtureRequest) -> list[str]:
    """Return the modes of the tests that are to be run."""
    cases = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    wanted = {(case["mode"], case["scope"]) for case in cases if case.get("programs") == request.param}
    return ["-".join(mode) for mode in MODES if mode in wanted]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((2, 1), id="two-nodes-of-one"),
        pytest.param((1, 2), id="one-node-of-two", marks=NIGHTLY),
        pytest.param((2, 2), id="two-nodes-of-two", marks=NIGHTLY),
    ],
)
def programs(request: pytest.FixtureRequest, launch_agents: LaunchAgents) -> Launch:
    nodes, processes = request.param
    with WandbServer() as server:
        modes = modes_of(request)
        job = launch_agents(SCENARIO, "log_in_each", *modes, nodes=nodes, processes=processes, **server.environment)
        wait_until_closed(server)
    assert job.exit_code == 0, job.output[-6000:]
    return Launch(nodes, processes, job.directory, server)


@pytest.mark.parametrize(("mode", "scope"), CELLS)
def test_ranks_log_to_the_runs_of_their_mode_and_scope(programs: Launch, mode: str, scope: str) -> None:
    runs, plans = programs.runs(mode, scope), programs.plans(mode, scope)

    assert programs.given(mode, scope) == [plan and plan.run_id for plan in plans]
    assert set(runs) == {plan.run_id for plan in plans if plan}
    for rank, plan in enumerate(plans):
        if plan is None:
            continue
        run = runs[plan.run_id]
        assert run.fields.get("groupName") in ({plan.group} if plan.group else {None, ""})
        assert (run.state, run.exit_code, run.destroyed_rows) == ("finished", 0, [])
        assert [row[f"loss/{rank}"] for row in run.history if f"loss/{rank}" in row] == [1]
        assert run.values["lr"] == 0.1
        if plan.label and mode != "shared":
            assert run.fields["displayName"] == plan.label
        if mode == "shared":
            assert f"output_{plan.label}.log" in run.files


@pytest.mark.parametrize(
    ("end", "rank", "state"),
    [
        pytest.param("exit", 1, ("failed", 3)),
        pytest.param("SIGTERM", 0, ("preempted", 143)),
        pytest.param("exit", 0, ("failed", 3), marks=NIGHTLY),
        pytest.param("exception", 0, ("failed", 1), marks=NIGHTLY),
        pytest.param("exception", 1, ("failed", 1), marks=NIGHTLY),
        pytest.param("SIGTERM", 1, ("preempted", 143), marks=NIGHTLY),
        pytest.param("SIGKILL", 0, ("failed", 1), marks=NIGHTLY),
    ],
)
def test_run_of_rank_0_ends_as_the_rank_that_failed(
    launch_agents: LaunchAgents, end: str, rank: int, state: tuple[str, int]
) -> None:
    with WandbServer() as server:
        job = launch_agents(SCENARIO, "end_by", end, str(rank), **server.environment)
        wait_until_closed(server)

    assert job.exit_code != 0
    (run,) = server.runs
    assert (run.state, run.exit_code) == state
    assert [row["loss"] for row in run.history] == [1]
    assert [noted(job.directory, "imports", each) for each in (0, 1)] == [True, False], "rank 1 pays nothing"


def test_every_rank_refuses_at_the_same_moment(launch_agents: LaunchAgents) -> None:
    job = launch_agents(SCENARIO, "refuse_all")

    for rank in (0, 1):
        unknown, shared, damaged, no_store, bad_id, has_opened = noted(job.directory, "refused", rank)
        assert "wandb_init: 'projct' is unknown; did you mean 'project'?" in unknown
        assert "run_mode='shared' with WANDB_MODE='offline'" in shared
        assert ("RANK=1 is outside WORLD_SIZE=1" if rank else "RANK='first'") in damaged
        assert "MASTER_ADDR and MASTER_PORT are not set" in no_store
        assert "WANDB_RUN_ID='a/b'" in bad_id
        assert not has_opened


@pytest.mark.parametrize("device", ["cpu", pytest.param("0,1", marks=NIGHTLY)])
def test_training_inside_logs_to_the_run_of_the_program(run_job: RunJob, device: str) -> None:
    job: Job = run_job(SCENARIO, "train_inside", device)

    keys = [key for row in job.run.history for key in row]
    assert [keys.count(key) for key in ("before", "train/box_loss", "metrics/mAP50(B)", "after")] == [1, 1, 2, 1]
    assert (job.run.project, job.run.state) == ("demo", "finished")
    assert "mistakes" not in keys
    assert not [artifact for artifact in job.run.artifacts if artifact.type == "model"], "options of the block count"
