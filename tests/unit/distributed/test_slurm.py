"""The variables of srun's tasks, in the words of torchrun."""

from __future__ import annotations

import pytest

from support.paths import EXAMPLES
from ultralytics_wb_ddp import ConfigurationError, ParallelConfig
from ultralytics_wb_ddp.distributed.slurm import first_host, slurm_environment, tasks_per_node

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


def test_task_of_srun_in_the_words_of_torchrun() -> None:
    assert slurm_environment(TASK) == BY_TASK
    assert ParallelConfig().resolve(TASK) == BY_TASK


@pytest.mark.parametrize(("number", "distributed"), [("11", True), ("1", False)])
def test_task_is_distributed_if_there_are_several(
    number: str,
    distributed: bool,  # noqa: FBT001  # a table of expectations
) -> None:
    assert ParallelConfig().is_distributed({**TASK, "SLURM_STEP_NUM_TASKS": number}) is distributed


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
    torchruns = {**BY_TASK, "RANK": "5", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4", "GROUP_RANK": "1"}

    assert ParallelConfig().resolve({**TASK, **torchruns}) == torchruns


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


def test_example_says_first_that_no_cluster_has_run_it() -> None:
    assert "# Not run on a cluster" in (EXAMPLES / "slurm.sbatch").read_text().partition("#SBATCH")[0]
