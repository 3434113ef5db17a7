"""All run modes and rank scopes in real trainings, on one node and on two."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from wandb_server import WandbServer
from wandb_server.store import StoredRun

from support.jobs import NIGHTLY, LaunchAgents, RunJob, RunOnline, wait_until_closed
from ultralytics_wb_ddp import Links, RankPlan, Topology, plan_rank

SCENARIO = "run_modes.py"
MODES = list(itertools.product(("auto", "new", "shared"), ("global", "worker")))
ALWAYS = {("shared", "global"), ("new", "worker")}  # one run of all ranks, and a run of each rank with its node's group
CELLS = [pytest.param(*mode, marks=() if mode in ALWAYS else NIGHTLY) for mode in MODES]
LOSSES = ("train/box_loss", "train/cls_loss", "train/dfl_loss")


class Launch:
    """The trainings of one launch, each in another mode.

    Attributes:
        nodes: Number of nodes.
        processes: Number of processes of each node.
        directory: Directory in which each rank has made its notes.
        server: The server with the runs.
        printed: The text that all ranks have printed.
    """

    def __init__(self, nodes: int, processes: int, directory: Path, server: WandbServer, printed: str) -> None:
        self.nodes = nodes
        self.processes = processes
        self.ranks = range(nodes * processes)
        self.directory = directory
        self.server = server
        self.printed = printed

    def plans(self, mode: str, scope: str) -> list[RankPlan | None]:
        """The run that each rank should have, by the id that rank 0 chose."""
        runs = self.runs(mode, scope)
        suffix = "-worker-0" if scope == "worker" and self.nodes > 1 else ""
        suffix += "-rank-0" if mode == "new" else ""
        base = next(run_id for run_id in runs if run_id.endswith(suffix)).removesuffix(suffix)
        places = [
            Topology(rank, rank % self.processes, len(self.ranks), self.processes, rank // self.processes, self.nodes)
            for rank in self.ranks
        ]
        return [plan_rank(place, mode, scope, base) for place in places]

    def first_plans(self, mode: str, scope: str) -> list[RankPlan]:
        """The run of the first rank of each node that has one."""
        return [plan for plan in self.plans(mode, scope)[:: self.processes] if plan]

    def runs(self, mode: str, scope: str) -> dict[str, StoredRun]:
        return {run.id: run for run in self.server.runs if run.project == f"{mode}-{scope}"}

    def noted(self, mode: str, scope: str) -> list[dict[str, Any]]:
        files = [self.directory / f"{mode}-{scope}-{rank}.json" for rank in self.ranks]
        return [json.loads(file.read_text()) for file in files]


def asked_for(request: pytest.FixtureRequest) -> list[str]:
    """Return the modes of the tests that are to be run; each costs a training in all processes."""
    cases = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    wanted = {
        (case.get("mode", "shared"), case.get("scope", "worker"))
        for case in cases
        if case.get("launch") == request.param and case.keys() & {"mode", "scope"}
    }
    return ["-".join(mode) for mode in MODES if mode in (wanted or ALWAYS)]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((2, 1), id="two-nodes-of-one"),
        pytest.param((1, 2), id="one-node-of-two", marks=NIGHTLY),
        pytest.param((2, 2), id="two-nodes-of-two", marks=NIGHTLY),
    ],
)
def launch(request: pytest.FixtureRequest, launch_agents: LaunchAgents) -> Launch:
    nodes, processes = request.param
    with WandbServer() as server:
        job = launch_agents(
            SCENARIO, "train_in_each", *asked_for(request), nodes=nodes, processes=processes, **server.environment
        )
        wait_until_closed(server)
    assert job.exit_code == 0, job.output[-6000:]
    return Launch(nodes, processes, job.directory, server, job.output)


@pytest.mark.parametrize(("mode", "scope"), CELLS)
def test_right_number_of_runs_with_their_ids_groups_and_states(launch: Launch, mode: str, scope: str) -> None:
    runs, plans = launch.runs(mode, scope), launch.plans(mode, scope)

    assert set(runs) == {plan.run_id for plan in plans if plan}
    for plan in filter(None, plans):
        run = runs[plan.run_id]
        assert run.fields.get("groupName") in ({plan.group} if plan.group else {None, ""})
        assert (run.state, run.exit_code) == ("finished", 0)
        assert run.destroyed_rows == []
        if plan.label and mode != "shared":
            assert run.fields["displayName"] == plan.label


@pytest.mark.parametrize("mode", ["new", *(pytest.param(mode, marks=NIGHTLY) for mode in ("auto", "shared"))])
def test_training_names_the_address_of_each_nodes_run(launch: Launch, mode: str) -> None:
    firsts = launch.first_plans(mode, "worker")
    place = f"{launch.server.url}/team/{mode}-worker"
    addresses = [f"{place}/groups/{plan.group}" if plan.group else f"{place}/runs/{plan.run_id}" for plan in firsts]
    links = Links.of_training(launch.directory / f"{mode}-worker")

    assert links.run == f"{place}/runs/{firsts[0].run_id}"
    assert links.nodes == ({f"worker-{node}": url for node, url in enumerate(addresses)} if launch.nodes > 1 else {})


@pytest.mark.parametrize(("mode", "scope"), CELLS)
def test_every_logging_rank_is_given_its_run_and_the_others_none(launch: Launch, mode: str, scope: str) -> None:
    given = [facts["run"] for facts in launch.noted(mode, scope)]

    assert given == [plan and plan.run_id for plan in launch.plans(mode, scope)]


@pytest.mark.parametrize(("mode", "scope"), CELLS)
def test_ranks_train_one_model_of_which_rank_0_returns_the_metrics(launch: Launch, mode: str, scope: str) -> None:
    noted = launch.noted(mode, scope)
    first, *others = [facts["weights"] for facts in noted]

    assert others == pytest.approx([first] * len(others))
    assert [facts["has_metrics"] for facts in noted] == [rank == 0 for rank in launch.ranks]


@pytest.mark.parametrize(("mode", "scope"), CELLS)
def test_rows_of_every_logging_rank_arrive(launch: Launch, mode: str, scope: str) -> None:
    runs = launch.runs(mode, scope)
    for rank, plan in enumerate(launch.plans(mode, scope)):
        if plan is None:
            continue
        prefix = f"ranks/{rank}/" if mode == "shared" and rank else ""
        rows = [row for row in runs[plan.run_id].history if f"{prefix}train/box_loss" in row]
        assert [row["epoch"] for row in rows] == [1]
        assert {f"{prefix}{loss}" for loss in LOSSES} <= rows[0].keys()
        assert ("metrics/mAP50(B)" in rows[0]) == (rank == 0)
        assert runs[plan.run_id].metrics["ranks/*"] == "epoch"
        assert runs[plan.run_id].values["epochs"] == 1


@pytest.mark.parametrize("scope", ["global", pytest.param("worker", marks=NIGHTLY)])
def test_shared_run_names_its_writers(launch: Launch, scope: str) -> None:
    runs = launch.runs("shared", scope)
    for plan in filter(None, launch.plans("shared", scope)):
        run = runs[plan.run_id]
        printed = [line for name, lines in run.streams.items() if name[0] == "output.log" for line in lines.lines]

        assert sum(f"[{plan.label}] this rank trains" in line for line in printed) == 1
        assert f"output_{plan.label}.log" in run.files
    writers = [{writer for name, writer in run.streams if name == "wandb-history.jsonl"} for run in runs.values()]
    assert sum(map(len, writers)) == len(launch.ranks)


@pytest.mark.parametrize(("mode", "scope"), CELLS)
def test_machine_is_measured_once_on_each_node(launch: Launch, mode: str, scope: str) -> None:
    runs, firsts = launch.runs(mode, scope), launch.first_plans(mode, scope)
    measured = {
        (run.id, writer): json.loads(lines.lines[0])
        for run in runs.values()
        for (name, writer), lines in run.streams.items()
        if name == "wandb-events.jsonl"
    }

    assert sorted(run_id for run_id, _ in measured) == sorted(plan.run_id for plan in firsts)
    if mode == "shared":
        labels = {key.partition("/l:")[2] for event in measured.values() for key in event if key.startswith("system.")}
        assert labels == {plan.label for plan in firsts}


@pytest.mark.parametrize(("mode", "scope"), CELLS)
def test_best_checkpoint_is_logged_once_by_rank_0(launch: Launch, mode: str, scope: str) -> None:
    runs, first = launch.runs(mode, scope), launch.plans(mode, scope)[0]

    models = {run_id: [item for item in run.artifacts if item.type == "model"] for run_id, run in runs.items()}
    assert first
    assert {run_id: len(found) for run_id, found in models.items() if found} == {first.run_id: 1}


def test_messages_name_their_rank(launch: Launch) -> None:
    said = [line for line in launch.printed.splitlines() if "ultralytics_wb_ddp: " in line]

    assert said
    assert all("[RANK 0] " in line for line in said if "INFO" in line)  # the others only warn
    assert not [line for line in said if "WARNING" in line]


# In Ultralytics' own launch, with a run of the launcher's


@NIGHTLY
def test_new_runs_stand_beside_the_launchers(run_online: RunOnline) -> None:
    _, server = run_online(SCENARIO, "train_beside_the_managers_run")

    runs = {run.id: run for run in server.runs}
    base = min(runs, key=len)
    assert runs.keys() == {base, f"{base}-rank-0", f"{base}-rank-1"}
    assert [key for row in runs[base].history for key in row if not key.startswith("_")] == ["before", "after"]
    assert {run.fields.get("groupName") for run in runs.values() if run.id != base} == {base}
    assert {run.state for run in runs.values()} == {"finished"}


@NIGHTLY
@pytest.mark.parametrize("state", ["closed", "open"])
def test_launcher_is_a_writer_of_the_shared_run(run_online: RunOnline, state: str) -> None:
    _, server = run_online(SCENARIO, "train_with_the_manager_as_a_writer", state)

    (run,) = server.runs
    keys = [key for row in run.history for key in row]
    assert [keys.count(key) for key in ("before", "after", "train/box_loss", "ranks/1/train/box_loss")] == [1] * 4
    assert (run.state, run.exit_code, run.destroyed_rows) == ("finished", 0, [])
    assert run.values["mine"] == 1
    assert run.values["imgsz"] == 64


@NIGHTLY
@pytest.mark.parametrize("rank", ["0", "1"])
@pytest.mark.parametrize("mode", ["new", "shared"])
def test_killed_rank_ends_in_failed_runs_with_every_row(run_online: RunOnline, rank: str, mode: str) -> None:
    _, server = run_online(SCENARIO, "train_and_kill", rank, mode, check=False)

    for run in server.runs:
        assert run.state == "failed"
        losses = [key for row in run.history for key in row if key.endswith("train/box_loss")]
        assert len(losses) == (2 if mode == "shared" else 1)


# Modes that cannot be are refused before anything is launched


@pytest.mark.parametrize(
    ("function", "message"),
    [
        pytest.param("share_offline", "run_mode='shared' with WANDB_MODE='offline'", marks=NIGHTLY),
        pytest.param("share_offline_with_a_manager", "run_mode='shared' with mode=", marks=NIGHTLY),
        ("share_a_run_of_one_writer", "which is open in mode='offline' and cannot have other writers"),
        pytest.param(
            "use_an_unknown_mode", "run_mode='every' is unknown; choose one of auto, new, shared", marks=NIGHTLY
        ),
        pytest.param("set_the_local_rank_alone", "LOCAL_RANK=0 is set and RANK is not", marks=NIGHTLY),
    ],
)
def test_impossible_mode_is_refused_in_the_launcher(run_job: RunJob, function: str, message: str) -> None:
    job = run_job(SCENARIO, function, check=False)

    assert job.exit_code == 1
    assert message in job.output
    assert "ConfigurationError" in job.output
    assert "torch.distributed.run" not in job.output
    assert not (job.directory / "train").exists()


@NIGHTLY
def test_every_rank_refuses_at_the_same_moment(launch_agents: LaunchAgents) -> None:
    job = launch_agents(SCENARIO, "ask_for_nodes_that_are_unknown")

    assert job.exit_code == 0
    for rank in (0, 1):
        assert "GROUP_RANK and LOCAL_WORLD_SIZE are not set" in (job.directory / f"refused-{rank}").read_text()
