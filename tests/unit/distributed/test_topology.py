"""Which process of a distributed training this is, and which run it logs to."""

from __future__ import annotations

import pytest

from ultralytics_wb_ddp import (
    ConfigurationError,
    RankPlan,
    Topology,
    get_distributed_info,
    is_main_process,
    plan_rank,
)

TORCHRUN = {
    "RANK": "5",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "8",
    "LOCAL_WORLD_SIZE": "4",
    "GROUP_RANK": "1",
    "GROUP_WORLD_SIZE": "2",
}


def test_topology_as_torchrun_describes_it() -> None:
    expected = Topology(rank=5, local_rank=1, world_size=8, local_world_size=4, worker_index=1, num_workers=2)

    assert Topology.from_env(TORCHRUN) == expected


@pytest.mark.parametrize("env", [{}, {"RANK": "-1"}, {"RANK": ""}, {"WORLD_SIZE": "4"}, {"LOCAL_RANK": "-1"}])
def test_no_topology_outside_a_distributed_training(env: dict[str, str]) -> None:
    assert Topology.from_env(env) is None
    assert is_main_process(env)


def test_rank_and_world_size_alone_do_not_tell_the_node() -> None:
    assert Topology.from_env({"RANK": "1", "WORLD_SIZE": "2"}) == Topology(1, 1, 2, 2, None, 1)


@pytest.mark.parametrize(("rank", "main"), [("0", True), ("1", False)])
def test_main_process_is_rank_0(rank: str, main: bool) -> None:  # noqa: FBT001  # a table of expectations
    assert is_main_process({"RANK": rank, "WORLD_SIZE": "2"}) is main


def test_distributed_info_is_the_topology_in_plain_words() -> None:
    assert get_distributed_info(TORCHRUN) == {
        "rank": 5,
        "local_rank": 1,
        "world_size": 8,
        "local_world_size": 4,
        "worker_index": 1,
        "num_workers": 2,
        "is_distributed": True,
        "is_main_process": False,
    }


def test_distributed_info_of_one_process_is_rank_0_of_1() -> None:
    info = get_distributed_info({})

    assert (info["rank"], info["world_size"], info["is_distributed"], info["is_main_process"]) == (0, 1, False, True)


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"RANK": "one"}, "RANK='one' is no integer"),
        ({"RANK": "4", "WORLD_SIZE": "4"}, "RANK=4 is outside WORLD_SIZE=4"),
        ({"RANK": "0", "WORLD_SIZE": "0"}, "WORLD_SIZE=0: there is at least one process"),
        ({"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "4", "LOCAL_WORLD_SIZE": "4"}, "LOCAL_RANK=4 is outside"),
        ({"LOCAL_RANK": "1"}, "LOCAL_RANK=1 is set and RANK is not; torchrun sets both"),
    ],
)
def test_environment_that_cannot_be_is_refused(env: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Topology.from_env(env)


def test_topology_as_srun_describes_it() -> None:
    env = {
        "SLURM_STEP_NUM_TASKS": "8",
        "SLURM_PROCID": "5",
        "SLURM_LOCALID": "1",
        "SLURM_NODEID": "1",
        "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
        "SLURM_STEP_NODELIST": "node[01-02]",
    }

    assert Topology.from_env(env) == Topology(5, 1, 8, 4, 1, 2)
    assert Topology.from_env({**env, **TORCHRUN, "RANK": "0", "LOCAL_RANK": "0"}) == Topology(0, 0, 8, 4, 1, 2)


# Which run: the table of the README, on one node of two ranks and on two nodes of two


def place(rank: int, nodes: int) -> Topology:
    return Topology(rank, rank % 2, 2 * nodes, 2, rank // 2, nodes)


def plans(run_mode: str, rank_scope: str, nodes: int) -> list[RankPlan | None]:
    return [plan_rank(place(rank, nodes), run_mode, rank_scope, "base") for rank in range(2 * nodes)]


@pytest.mark.parametrize("nodes", [1, 2])
def test_auto_global_logs_rank_0_alone(nodes: int) -> None:
    first, *others = plans("auto", "global", nodes)

    assert first == RankPlan("base", group=None, label=None, primary=True, mode="auto")
    assert set(others) == {None}


def test_auto_worker_logs_local_rank_0_of_each_node() -> None:
    assert [plan and plan.run_id for plan in plans("auto", "worker", 2)] == [
        "base-worker-0",
        None,
        "base-worker-1",
        None,
    ]


def test_new_global_makes_a_run_of_each_rank_in_one_group() -> None:
    assert plans("new", "global", 2) == [
        RankPlan(f"base-rank-{rank}", group="base", label=f"rank-{rank}", mode="new") for rank in range(4)
    ]


def test_new_worker_makes_a_group_of_each_node() -> None:
    assert [(plan.run_id, plan.group, plan.label) for plan in plans("new", "worker", 2) if plan] == [
        (f"base-worker-{node}-rank-{rank}", f"base-worker-{node}", f"worker-{node}-rank-{rank}")
        for node in (0, 1)
        for rank in (0, 1)
    ]


def test_shared_global_has_one_run_that_rank_0_ends() -> None:
    assert plans("shared", "global", 2) == [
        RankPlan("base", label=f"worker-{rank // 2}-rank-{rank % 2}", primary=rank == 0, mode="shared")
        for rank in range(4)
    ]
    assert [plan.label for plan in plans("shared", "global", 1) if plan] == ["rank-0", "rank-1"]


def test_shared_worker_has_a_run_of_each_node_that_its_local_rank_0_ends() -> None:
    assert plans("shared", "worker", 2) == [
        RankPlan(
            f"base-worker-{rank // 2}",
            label=f"worker-{rank // 2}-rank-{rank % 2}",
            primary=rank % 2 == 0,
            mode="shared",
        )
        for rank in range(4)
    ]


@pytest.mark.parametrize("run_mode", ["auto", "new", "shared"])
def test_on_one_node_worker_scope_is_global_scope(run_mode: str) -> None:
    assert plans(run_mode, "worker", 1) == plans(run_mode, "global", 1)


@pytest.mark.parametrize("run_mode", ["auto", "new", "shared"])
def test_training_in_one_process_has_one_plain_run(run_mode: str) -> None:
    assert plan_rank(None, run_mode, "worker", "base") == RankPlan("base")


@pytest.mark.parametrize(
    ("run_mode", "rank_scope", "message"),
    [
        ("all", "global", "run_mode='all' is unknown; choose one of auto, new, shared"),
        ("auto", "node", "rank_scope='node' is unknown; choose one of global, worker"),
    ],
)
def test_unknown_mode_and_scope_are_named(run_mode: str, rank_scope: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        plan_rank(place(0, 1), run_mode, rank_scope, "base")


def test_worker_scope_needs_to_know_the_node_of_each_rank() -> None:
    topology = Topology.from_env({"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"})

    assert plan_rank(topology, "auto", "global", "base") is None
    with pytest.raises(ConfigurationError, match="GROUP_RANK and LOCAL_WORLD_SIZE are not set; launch with torchrun"):
        plan_rank(topology, "auto", "worker", "base")
