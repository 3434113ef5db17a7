"""Settings of a distributed training against what the environment says; nothing is started here."""

from __future__ import annotations

import socket
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from omegaconf import OmegaConf

from ultralytics_wb_ddp import ConfigurationError, ParallelConfig, Topology
from ultralytics_wb_ddp.distributed.parallel_config import find_free_port, is_port_free

WORKER = {
    "RANK": "5",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "8",
    "LOCAL_WORLD_SIZE": "4",
    "GROUP_RANK": "1",
    "MASTER_ADDR": "node01",
    "MASTER_PORT": "29500",
}


@dataclass
class Config:
    parallel: dict[str, Any] = field(default_factory=lambda: {"world_size": 4, "backend": "gloo"})


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


# The section of a config


@pytest.mark.parametrize(
    "cfg",
    [
        OmegaConf.create({"parallel": {"world_size": 4, "backend": "gloo"}}),
        {"parallel": {"world_size": 4, "backend": "gloo"}},
        Config(),
        Namespace(parallel=Namespace(world_size=4, backend="gloo")),
        {"parallel": ParallelConfig(world_size=4, backend="gloo")},
        {"parallel": {"world_size": "4", "backend": "gloo", "rank": None, "master_port": "???"}},
    ],
    ids=["omegaconf", "mapping", "dataclass", "namespace", "ready", "as text"],
)
def test_section_is_read_from_any_kind_of_config(cfg: Any) -> None:
    assert ParallelConfig.from_cfg(cfg) == ParallelConfig(world_size=4, backend="gloo")


def test_section_of_a_pytorch_trainer_is_taken_as_it_is() -> None:
    section = {"world_size": 3, "rank": None, "master_addr": "localhost", "master_port": "12355"}
    section |= {"output_device": None, "find_unused_parameters": False}
    unused = dict.fromkeys(["init_method", "device_ids", "local_rank", "timeout", "static_graph", "nnodes"])

    config = ParallelConfig.from_cfg({"parallel": {**section, **unused}})

    assert config == ParallelConfig(3, None, "localhost", 12355, find_unused_parameters=False)
    assert config.resolve({}, check_port=False) == {"MASTER_PORT": "12355"}


@pytest.mark.parametrize(
    "section",
    [
        {"world_size": 2, "rank": None, "master_port": "12355"},
        OmegaConf.create({"parallel": {"world_size": 2, "rank": None, "master_port": "12355"}}).parallel,
        Namespace(world_size=2, rank=None, master_port="12355"),
    ],
    ids=["mapping", "omegaconf", "namespace"],
)
def test_section_alone_is_read_as_the_config_that_holds_it(section: Any) -> None:
    assert ParallelConfig.from_argument(section) == ParallelConfig(world_size=2, master_port=12355)


@pytest.mark.parametrize("config", [None, {}, {"wandb": {"project": "demo"}}, {"epochs": 3, "parallel": None}])
def test_argument_without_a_section_leaves_everything_open(config: Any) -> None:
    assert ParallelConfig.from_argument(config) == ParallelConfig()


def test_section_alone_is_checked() -> None:
    with pytest.raises(ConfigurationError, match="parallel: 'word_size' is unknown; did you mean 'world_size'"):
        ParallelConfig.from_argument({"word_size": 4})


@pytest.mark.parametrize(("given", "index"), [(0, 0), ("1", 1), (None, None)])
def test_output_device_is_the_index_of_a_device(given: Any, index: int | None) -> None:
    assert ParallelConfig.from_cfg({"parallel": {"output_device": given}}).output_device == index


def test_way_to_meet_that_is_taken_anyway_may_be_named() -> None:
    assert ParallelConfig.from_cfg({"parallel": {"init_method": "env://"}}) == ParallelConfig()


def test_values_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODES", "3")

    assert ParallelConfig.from_cfg(OmegaConf.create({"parallel": {"world_size": "${oc.env:NODES}"}})).world_size == 3


@pytest.mark.parametrize("cfg", [{}, {"parallel": None}, {"wandb": {"project": "demo"}}, Namespace(), None])
def test_missing_section_leaves_everything_open(cfg: Any) -> None:
    assert ParallelConfig.from_cfg(cfg) == ParallelConfig()


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"word_size": 4}, "parallel: 'word_size' is unknown; did you mean 'world_size'"),
        ({"gpus": 4}, "parallel: 'gpus' is unknown; known are world_size, rank, .*find_unused_parameters"),
        (4, "parallel=4 is of type int; a section with world_size, rank"),
        ({"world_size": 0}, "parallel.world_size=0: .* 1 or more"),
        ({"world_size": "-2"}, "parallel.world_size='-2': .* 1 or more"),
        ({"world_size": 2.0}, "parallel.world_size=2.0"),
        ({"world_size": True}, "parallel.world_size=True"),
        ({"world_size": "two"}, "parallel.world_size='two'"),
        ({"rank": -1}, "parallel.rank=-1: a rank, counted from 0"),
        ({"rank": 4, "world_size": 4}, "parallel.rank=4 is outside parallel.world_size=4; ranks go from 0 to 3"),
        ({"master_port": 0}, "parallel.master_port=0: a port, from 1 to 65535"),
        ({"master_port": 65536}, "parallel.master_port=65536: a port"),
        ({"master_addr": " "}, "parallel.master_addr=' ': the name"),
        ({"master_addr": 7}, "parallel.master_addr=7: the name"),
        ({"output_device": -1}, "parallel.output_device=-1: the index of a GPU of this machine, counted from 0"),
        ({"output_device": "cuda"}, "parallel.output_device='cuda': the index of a GPU"),
        ({"output_device": True}, "parallel.output_device=True: the index of a GPU"),
        ({"output_device": 1.0}, "parallel.output_device=1.0: the index of a GPU"),
        (
            {"init_method": "tcp://10.0.0.1:23456"},
            "parallel.init_method='tcp.*' has no use here: .* parallel.master_addr",
        ),
        ({"local_rank": 0}, "parallel.local_rank=0 has no use here: .* LOCAL_RANK in the environment"),
        ({"device_ids": [0, 1]}, r"parallel.device_ids=\[0, 1\] has no use here: .* train.device"),
        ({"timeout": 1800}, "parallel.timeout=1800 has no use here: a collective may take 3 hours"),
        (
            {"nproc_per_node": 2},
            "parallel.nproc_per_node=2 .* torchrun --nproc_per_node; leave it out, or make it null",
        ),
        ({"backend": "ncll"}, "parallel.backend='ncll': did you mean 'nccl'"),
        ({"backend": "tcp-ip"}, "parallel.backend='tcp-ip': known are nccl, gloo"),
        ({"backend": 1}, "parallel.backend=1: a backend, such as 'nccl'"),
        ({"find_unused_parameters": "yes"}, "parallel.find_unused_parameters='yes': true or false"),
    ],
)
def test_setting_that_cannot_work_is_named_with_its_remedy(section: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ParallelConfig.from_cfg({"parallel": section})


def test_backends_by_device_are_taken() -> None:
    assert ParallelConfig(backend="cpu:gloo,cuda:nccl").backend == "cpu:gloo,cuda:nccl"


# The environment of a process that torchrun has started


def test_environment_of_torchrun_is_kept() -> None:
    assert ParallelConfig().resolve(WORKER) == WORKER


def test_settings_that_say_the_same_change_nothing() -> None:
    config = ParallelConfig(world_size=8, rank=5, master_addr="node01", master_port=29500)

    assert config.resolve(WORKER) == WORKER


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            ParallelConfig(world_size=4),
            r"parallel.world_size=4 contradicts WORLD_SIZE=8 .*leave parallel.world_size out",
        ),
        (ParallelConfig(rank=2), "parallel.rank=2 contradicts RANK=5"),
        (ParallelConfig(master_addr="node09"), "parallel.master_addr='node09' contradicts MASTER_ADDR=node01"),
        (ParallelConfig(master_port=4711), "parallel.master_port=4711 contradicts MASTER_PORT=29500"),
    ],
)
def test_contradiction_names_both_values(config: ParallelConfig, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        config.resolve(WORKER)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"RANK": "8"}, "RANK=8 is outside WORLD_SIZE=8"),
        ({"RANK": "one"}, "RANK='one' is no integer"),
        ({"WORLD_SIZE": ""}, "rank is 5 and the number of processes is unknown; set WORLD_SIZE"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE=0: there is at least one process"),
        ({"LOCAL_RANK": "4"}, "LOCAL_RANK=4 is outside LOCAL_WORLD_SIZE=4"),
        ({"LOCAL_WORLD_SIZE": ""}, "LOCAL_RANK=1 differs from RANK=5, .*LOCAL_WORLD_SIZE is missing"),
        ({"LOCAL_WORLD_SIZE": "0"}, "LOCAL_WORLD_SIZE=0: there is at least one"),
        ({"LOCAL_WORLD_SIZE": "9"}, "LOCAL_WORLD_SIZE=9 is more than WORLD_SIZE=8"),
        ({"MASTER_ADDR": ""}, "MASTER_ADDR is missing; .*host of rank 0"),
        ({"MASTER_PORT": ""}, "MASTER_PORT is missing; .*same free port"),
        ({"MASTER_PORT": "0"}, "MASTER_PORT=0 is no port; .*torchrun --standalone"),
        ({"MASTER_PORT": "70000"}, "MASTER_PORT=70000 is no port"),
    ],
)
def test_environment_that_cannot_work_is_named_with_its_remedy(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ParallelConfig().resolve({**WORKER, **changes})


@pytest.mark.parametrize("rank", ["", "-1"])
def test_local_rank_without_a_rank_is_refused(rank: str) -> None:
    with pytest.raises(ConfigurationError, match=r"LOCAL_RANK=0 is set and RANK is not; .*unset LOCAL_RANK"):
        ParallelConfig().resolve({"LOCAL_RANK": "0", "RANK": rank})


# Processes that were started by hand or by torch.multiprocessing.spawn


def test_process_started_by_hand_on_one_node_needs_rank_size_and_port() -> None:
    found = ParallelConfig(world_size=2, rank=1, master_port=29501).resolve({})

    assert found == {
        "RANK": "1",
        "LOCAL_RANK": "1",
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29501",
    }


def test_process_started_by_hand_on_several_nodes_says_how_many_share_its_node() -> None:
    config = ParallelConfig(world_size=4, rank=3, master_addr="node01", master_port=29501)
    found = config.resolve({"LOCAL_WORLD_SIZE": "2"})

    assert (found["LOCAL_RANK"], found["GROUP_RANK"], found["MASTER_ADDR"]) == ("1", "1", "node01")


def test_rank_alone_is_not_enough() -> None:
    with pytest.raises(ConfigurationError, match="rank is 1 and the number of processes is unknown"):
        ParallelConfig(rank=1).resolve({})


def test_single_process_gets_a_free_port() -> None:
    assert is_port_free(int(ParallelConfig().resolve({"RANK": "0", "WORLD_SIZE": "1"})["MASTER_PORT"]))


def test_callback_reads_the_resolved_environment() -> None:
    found = ParallelConfig(world_size=2, rank=1, master_port=29501).resolve({})

    assert Topology.from_env(found) == Topology(1, 1, 2, 2, 0, 1)


# The port


def test_rank_0_refuses_a_port_in_use(busy_port: int) -> None:
    env = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_PORT": str(busy_port)}

    with pytest.raises(ConfigurationError, match=f"MASTER_PORT={busy_port} is in use .*parallel.master_port"):
        ParallelConfig().resolve(env)
    assert ParallelConfig().resolve(env, check_port=False)["MASTER_PORT"] == str(busy_port)
    assert ParallelConfig().resolve({**env, "RANK": "1"}), "rank 1 does not open it"
    assert ParallelConfig().resolve({**env, "TORCHELASTIC_USE_AGENT_STORE": "True"}), "torchrun has opened it"


def test_launcher_refuses_a_port_in_use(busy_port: int) -> None:
    with pytest.raises(ConfigurationError, match=f"MASTER_PORT={busy_port} is in use"):
        ParallelConfig(master_port=busy_port).resolve({})


def test_launcher_takes_the_port_that_was_asked_for_or_a_free_one() -> None:
    port = find_free_port()

    assert ParallelConfig(master_port=port).resolve({}) == {"MASTER_PORT": str(port)}
    found = ParallelConfig().resolve({"WORLD_SIZE": "4"})
    assert list(found) == ["MASTER_PORT"]
    assert is_port_free(int(found["MASTER_PORT"]))


def test_launcher_is_told_that_several_nodes_need_torchrun() -> None:
    with pytest.raises(
        ConfigurationError, match=r"parallel.master_addr='node01' is for several nodes, .*torchrun or srun"
    ):
        ParallelConfig(world_size=8, master_addr="node01").resolve({})
    with pytest.raises(ConfigurationError, match=r"parallel.world_size=8 contradicts WORLD_SIZE=2"):
        ParallelConfig(world_size=8).resolve({"WORLD_SIZE": "2"})


@pytest.mark.parametrize(
    ("config", "env", "distributed"),
    [
        (ParallelConfig(), {}, False),
        (ParallelConfig(world_size=4), {}, False),
        (ParallelConfig(), {"RANK": "-1"}, False),
        (ParallelConfig(), {"WORLD_SIZE": "4"}, False),
        (ParallelConfig(), {"RANK": "0"}, True),
        (ParallelConfig(rank=0), {}, True),
    ],
)
def test_process_of_a_distributed_training_is_known(
    config: ParallelConfig,
    env: dict[str, str],
    distributed: bool,  # noqa: FBT001  # a table of expectations
) -> None:
    assert config.is_distributed(env) is distributed
