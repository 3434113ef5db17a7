"""Settings of a distributed training against what the environment says; nothing is started here."""

from __future__ import annotations

import socket
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from omegaconf import OmegaConf

from ultralytics_wb_ddp import ConfigurationError, ParallelConfig, Topology
from ultralytics_wb_ddp.distributed.parallel_config import find_free_port, is_port_free
from ultralytics_wb_ddp.distributed.slurm import first_host, slurm_environment, tasks_per_node

WORKER = {
    "RANK": "5",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "8",
    "LOCAL_WORLD_SIZE": "4",
    "GROUP_RANK": "1",
    "MASTER_ADDR": "node01",
    "MASTER_PORT": "29500",
}
TASK = {
    "SLURM_STEP_NUM_TASKS": "11",
    "SLURM_PROCID": "9",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "2",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2),3",
    "SLURM_STEP_NODELIST": "node[01-02,07]",
    "SLURM_JOB_ID": "123456",
    "SLURM_STEP_ID": "0",
}
BY_TASK = {
    "RANK": "9",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "11",
    "LOCAL_WORLD_SIZE": "3",
    "GROUP_RANK": "2",
    "MASTER_ADDR": "node01",
    "MASTER_PORT": str(10_000 + 123_456 % 20_000),
}


@dataclass
class Config:
    parallel: dict[str, Any] = field(default_factory=lambda: {"world_size": 4, "backend": "gloo"})


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


# What cfg.parallel may hold


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


def test_what_is_resolved_is_what_the_callback_reads() -> None:
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
        (ParallelConfig(), TASK, True),
        (ParallelConfig(), {**TASK, "SLURM_STEP_NUM_TASKS": "1"}, False),
    ],
)
def test_process_of_a_distributed_training_is_known(
    config: ParallelConfig,
    env: dict[str, str],
    distributed: bool,  # noqa: FBT001  # a table of expectations
) -> None:
    assert config.is_distributed(env) is distributed


# Slurm


def test_task_of_srun_in_the_words_of_torchrun() -> None:
    assert slurm_environment(TASK) == BY_TASK
    assert ParallelConfig().resolve(TASK) == BY_TASK


def test_shell_of_a_batch_file_is_no_task() -> None:
    shell = {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "8", "SLURM_JOB_ID": "7", "SLURM_NODEID": "0"}

    assert slurm_environment(shell) == {}


def test_all_tasks_of_a_step_meet_at_one_place() -> None:
    places = set()
    for rank in range(11):
        task = {**TASK, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank % 4), "SLURM_NODEID": str(rank // 4)}
        found = slurm_environment(task)
        places.add((found["MASTER_ADDR"], found["MASTER_PORT"], found["WORLD_SIZE"]))

    assert places == {("node01", "13456", "11")}


def test_steps_and_neighbouring_jobs_have_ports_of_their_own() -> None:
    ports = [
        slurm_environment({**TASK, "SLURM_JOB_ID": str(job), "SLURM_STEP_ID": str(step)})["MASTER_PORT"]
        for job in range(123_456, 123_556)
        for step in range(10)
    ]

    assert len(set(ports)) == len(ports)
    assert all(10_000 <= int(port) < 32_768 for port in ports)


def test_tasks_of_one_node_meet_on_it() -> None:
    task = {**TASK, "SLURM_STEP_TASKS_PER_NODE": "11", "SLURM_NODEID": "0", "SLURM_STEP_NODELIST": ""}

    assert slurm_environment(task)["MASTER_ADDR"] == "127.0.0.1"


def test_launching_node_stands_in_for_a_missing_list() -> None:
    task = {**TASK, "SLURM_STEP_NODELIST": "", "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.7"}

    assert slurm_environment(task)["MASTER_ADDR"] == "10.0.0.7"


def test_variables_of_torchrun_win_over_slurms() -> None:
    assert ParallelConfig().resolve({**TASK, **WORKER}) == WORKER


def test_meeting_place_set_in_the_batch_file_wins_over_the_derived_one() -> None:
    env = {**TASK, "MASTER_ADDR": "fast-network", "MASTER_PORT": "29555"}
    found = ParallelConfig().resolve(env)

    assert (found["MASTER_ADDR"], found["MASTER_PORT"]) == ("fast-network", "29555")
    assert ParallelConfig(master_port=29666).resolve(TASK)["MASTER_PORT"] == "29666"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"SLURM_STEP_NUM_TASKS": "many"}, "SLURM_STEP_NUM_TASKS='many' is no integer; srun sets it"),
        ({"SLURM_PROCID": ""}, "SLURM_PROCID is missing; srun sets it"),
        ({"SLURM_NODEID": "3"}, r"SLURM_NODEID=3 has no entry in SLURM_STEP_TASKS_PER_NODE='4\(x2\),3'"),
        ({"SLURM_STEP_TASKS_PER_NODE": "4x2"}, "SLURM_STEP_TASKS_PER_NODE='4x2' is not of the form"),
        ({"SLURM_STEP_NODELIST": ""}, "SLURM_STEP_NODELIST is missing, .*set MASTER_ADDR"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE=2 contradicts Slurm, where it is 11; unset WORLD_SIZE"),
        ({"LOCAL_RANK": "0"}, "LOCAL_RANK=0 contradicts Slurm, where it is 1"),
    ],
)
def test_slurm_that_makes_no_sense_is_named(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ParallelConfig().resolve({**TASK, **changes})


def test_settings_must_not_contradict_slurm() -> None:
    with pytest.raises(ConfigurationError, match=r"parallel.world_size=4 contradicts WORLD_SIZE=11"):
        ParallelConfig(world_size=4).resolve(TASK)


@pytest.mark.parametrize(
    ("text", "counts"), [("4", [4]), ("4(x2),3", [4, 4, 3]), ("2(x3)", [2, 2, 2]), ("1,2(x2),1", [1, 2, 2, 1])]
)
def test_tasks_per_node_as_slurm_writes_them(text: str, counts: list[int]) -> None:
    assert tasks_per_node(text) == counts


@pytest.mark.parametrize(
    ("nodelist", "host"),
    [
        ("node01", "node01"),
        ("node01,node02", "node01"),
        ("node[01-04,07]", "node01"),
        ("node[7,9]", "node7"),
        ("rack[2-3]node[11-12],big1", "rack2node11"),
        ("gpu-a100-[003-004].cluster.org", "gpu-a100-003.cluster.org"),
        ("", ""),
    ],
)
def test_first_host_of_a_list_as_slurm_writes_it(nodelist: str, host: str) -> None:
    assert first_host(nodelist) == host


def test_settings_and_training_are_imported_without_torch() -> None:
    code = "from ultralytics_wb_ddp import ParallelConfig, train_distributed; import sys; print('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout == b"False\n"
