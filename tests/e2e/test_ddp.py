"""Trainings whose processes are there already: of torchrun on one and on several nodes, of spawn, by hand."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from support.jobs import END, EPOCHS, NIGHTLY, Job, LaunchAgents, RunJob, epochs
from support.paths import EXAMPLES
from support.releases import Releases
from ultralytics_wb_ddp.distributed.parallel_config import find_free_port

EXAMPLE = EXAMPLES / "torchrun_two_nodes.py"
SCENARIO = "ddp.py"
pytestmark = NIGHTLY  # test_run_modes.py has one launch of torchrun on two nodes in every run


def notes(job: Job) -> dict[int, list[dict[str, Any]]]:
    """Return the notes of each rank."""
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for file in sorted(job.directory.glob("notes-*.jsonl")):
        found[int(file.stem.partition("-")[2])] += [json.loads(line) for line in file.read_text().splitlines()]
    return found


def succeeded(job: Job) -> Job:
    assert job.exit_code == 0, job.output[-5000:]
    return job


# Three ways to launch the same training: Ultralytics' own, torchrun, torch.multiprocessing.spawn

LAUNCHES = ["ultralytics", "torchrun", "spawn"]


@pytest.fixture(scope="module")
def launched(launch_agents: LaunchAgents, run_job: RunJob) -> Callable[[str], Job]:
    """Launches the training in one of the ways, once each."""
    ways: dict[str, Callable[[], Job]] = {
        "ultralytics": lambda: run_job(SCENARIO, "train"),
        "torchrun": lambda: succeeded(launch_agents(SCENARIO, "train")),
        "spawn": lambda: run_job(SCENARIO, "spawn"),
    }
    return cache(lambda launch: ways[launch]())


@pytest.mark.parametrize("launch", LAUNCHES)
def test_training_has_one_run_however_it_is_launched(launched: Callable[[str], Job], launch: str) -> None:
    job = launched(launch)

    assert epochs(job) == [*EPOCHS, END]
    assert (job.run.state, job.run.exit_code) == ("finished", 0)


@pytest.mark.parametrize("launch", LAUNCHES)
def test_ranks_train_one_model_however_they_are_launched(launched: Callable[[str], Job], launch: str) -> None:
    found = notes(launched(launch))

    for rank in (0, 1):
        assert {(note["rank"], note["size"], note["images"]) for note in found[rank]} == {(rank, 2, 6)}
    assert [note["weights"] for note in found[0]] == pytest.approx([note["weights"] for note in found[1]])


@pytest.mark.parametrize("launch", LAUNCHES[1:])
def test_rows_are_the_same_however_the_training_is_launched(launched: Callable[[str], Job], launch: str) -> None:
    reference, rows = ([comparable(row) for row in launched(name).run.history] for name in ("ultralytics", launch))

    assert [sorted(row) for row in rows] == [sorted(row) for row in reference]
    assert len(reference) == len([*EPOCHS, END])
    assert "train/box_loss" in reference[0]
    for row, expected in zip(rows, reference):
        assert row == pytest.approx(expected, rel=1e-3, abs=1e-6)


def comparable(row: dict[str, Any]) -> dict[str, float]:
    """Return the numbers of a row that do not measure time or memory."""
    measured = ("ranks/", "_", "model/speed")
    numbers = {key: value for key, value in row.items() if isinstance(value, (int, float))}
    return {key: value for key, value in numbers.items() if not key.startswith(measured)}


# Several nodes


@pytest.fixture(scope="module")
def two_nodes(launch_agents: LaunchAgents) -> Job:
    return succeeded(launch_agents(SCENARIO, "train_on_all_nodes", nodes=2, processes=2))


def test_two_nodes_have_one_run(two_nodes: Job) -> None:
    assert epochs(two_nodes) == [*EPOCHS, END]
    assert two_nodes.run.state == "finished"
    assert len(list(two_nodes.directory.glob("train*"))) == 1


def test_ranks_of_two_nodes_train_one_model(two_nodes: Job) -> None:
    found = notes(two_nodes)

    assert sorted(found) == [0, 1, 2, 3]
    for rank in (1, 2, 3):
        assert [note["event"] for note in found[rank]] == [note["event"] for note in found[0]]
        assert [note["weights"] for note in found[rank]] == pytest.approx([note["weights"] for note in found[0]])
    assert found[0][0]["weights"] != found[0][-1]["weights"]
    assert {note["size"] for note in found[0]} == {4}


def test_two_nodes_train_as_one_node_with_as_many_processes(two_nodes: Job, launch_agents: LaunchAgents) -> None:
    one_node = succeeded(launch_agents(SCENARIO, "train_on_all_nodes", processes=4))

    for key in ("train/box_loss", "train/cls_loss", "val/box_loss", "val/cls_loss"):
        assert results(two_nodes, key) == pytest.approx(results(one_node, key), rel=1e-3)


def results(job: Job, key: str) -> list[float]:
    with (job.directory / "train/results.csv").open() as file:
        return [float(row[key]) for row in csv.DictReader(file, skipinitialspace=True)]


@pytest.fixture(scope="module")
def can_unshare() -> bool:
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return bool(shutil.which("unshare")) and subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def example(launch_agents: LaunchAgents, can_unshare: bool) -> Job:  # noqa: FBT001  # a fixture
    """The example for two nodes, one process each, whose file systems differ where this machine allows that."""
    apart = "runs" if can_unshare else ""
    return succeeded(launch_agents(str(EXAMPLE), "--cpu", nodes=2, processes=1, apart=apart))


def test_example_for_two_nodes_makes_one_run(example: Job) -> None:
    assert epochs(example) == [*EPOCHS, END]
    assert example.run.state == "finished"
    assert "mAP50-95" in example.output


def test_nodes_without_a_common_file_system_evaluate_the_same_checkpoint(example: Job, can_unshare: bool) -> None:  # noqa: FBT001  # a fixture
    if not can_unshare:
        pytest.skip("this machine allows no file systems of single processes")
    import torch

    models = [
        torch.load(example.directory / runs / "train/weights/best.pt", weights_only=False)
        for runs in ("runs", "runs-1")
    ]
    first, second = ((model.get("ema") or model["model"]).state_dict() for model in models)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not (example.directory / "runs-1/train/results.csv").exists(), "rank 0 alone writes results"


# Several trainings in one job


@pytest.fixture(scope="module")
def twice(launch_agents: LaunchAgents) -> Job:
    return succeeded(launch_agents(SCENARIO, "train_twice"))


def test_second_training_has_a_directory_of_its_own_in_all_ranks(twice: Job) -> None:
    for found in notes(twice).values():
        directories = list(dict.fromkeys(note["directory"] for note in found))
        assert len(directories) == 2
        assert directories[0] == str(twice.directory / "train")
        assert Path(directories[1]).name in {"train2", "train-2"}
    assert notes(twice)[0][-1]["directory"] == notes(twice)[1][-1]["directory"]
    assert [run.state for run in twice.runs] == ["finished", "finished"]


def test_rank_0_alone_returns_metrics(twice: Job) -> None:
    got = [json.loads((twice.directory / f"got-{rank}.json").read_text()) for rank in (0, 1)]

    assert got == [["DetMetrics", "DetMetrics", False], ["NoneType", "NoneType", False]]


def test_training_by_time_ends_in_the_same_epoch_everywhere(twice: Job) -> None:
    first, second = (
        [(note["event"], note["epoch"], note["epochs"], note["lr"]) for note in found]
        for found in notes(twice).values()
    )

    assert first == second
    assert max(note[1] for note in first) > 1


def test_own_launch_takes_port_and_settings(run_job: RunJob, release: Path, releases: Releases) -> None:
    port = find_free_port()
    job = run_job(SCENARIO, "launch_with_settings", str(port), PYTHONPATH=releases.path(release))

    assert job.output.count(f"PORT {port} False 2") == 2
    assert job.run.state == "finished"


# Settings that cannot work


def test_output_device_reaches_pytorch(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "train_with_an_output_device", check=False)

    assert "output_device 1, and module parameters {device(type='cpu')}" in job.output


def test_wrong_setting_is_an_error_in_every_rank_at_once(launch_agents: LaunchAgents) -> None:
    job = launch_agents(SCENARIO, "train_with_a_wrong_setting")

    assert job.exit_code != 0
    for rank in (0, 1):
        assert "world_size=4 contradicts WORLD_SIZE=2" in (job.directory / f"error-{rank}").read_text()
    assert "parallel.world_size=4 contradicts WORLD_SIZE=2" in job.output
    assert job.runs == []


def test_every_rank_that_opens_a_run_under_torchrun_hears_of_it(launch_agents: LaunchAgents) -> None:
    job = launch_agents(SCENARIO, "train_with_a_run_of_every_rank")

    assert job.exit_code == 0, job.output[-3000:]
    assert job.output.count("this rank has opened run") == 1
    assert "[RANK 1] this rank has opened run rank-1, which gets no rows" in job.output
