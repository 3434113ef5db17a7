"""Which process of a distributed training this is."""

from __future__ import annotations

import pytest

from ultralytics_wb_ddp import ConfigurationError, Topology, is_main_process


def test_topology_as_torchrun_describes_it() -> None:
    env = {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4", "GROUP_RANK": "1"}

    assert Topology.from_env(env) == Topology(5, 1, 8, 4, 1)


@pytest.mark.parametrize("env", [{}, {"RANK": "-1"}, {"RANK": ""}, {"WORLD_SIZE": "4"}])
def test_no_topology_outside_a_distributed_training(env: dict[str, str]) -> None:
    assert Topology.from_env(env) is None
    assert is_main_process(env)


def test_rank_alone_means_one_node() -> None:
    assert Topology.from_env({"RANK": "1", "WORLD_SIZE": "2"}) == Topology(1, 1, 2, 2, 0)


@pytest.mark.parametrize(("rank", "main"), [("0", True), ("1", False)])
def test_main_process_is_rank_0(rank: str, main: bool) -> None:  # noqa: FBT001  # a table of expectations
    assert is_main_process({"RANK": rank, "WORLD_SIZE": "2"}) is main


def test_value_that_is_no_integer_is_named() -> None:
    with pytest.raises(ConfigurationError, match="RANK='one' is no integer"):
        Topology.from_env({"RANK": "one"})


def test_rank_beyond_the_world_size_is_named() -> None:
    with pytest.raises(ConfigurationError, match="RANK=4 lies outside WORLD_SIZE=4"):
        Topology.from_env({"RANK": "4", "WORLD_SIZE": "4"})
