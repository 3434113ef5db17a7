"""Trainings whose processes somebody else has started: torchrun on one and on several nodes, spawn, by hand."""

from __future__ import annotations

import csv
import json
import shutil
import socket
import subprocess
import textwrap
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from support.jobs import END, EPOCHS, NIGHTLY, PRELUDE, Job, LaunchAgents, RunJob, epochs
from support.paths import EXAMPLES
from support.releases import Releases
from ultralytics_wb_ddp import ConfigurationError, ParallelConfig, train_distributed
from ultralytics_wb_ddp.distributed.parallel_config import find_free_port
from ultralytics_wb_ddp.distributed.trainer_mixin import local_device_number
from ultralytics_wb_ddp.testing.cpu_trainers import CpuDDPTrainer

EXAMPLE = EXAMPLES / "torchrun_two_nodes.py"

# Notes what each rank sees at the end of each epoch, with a checksum of its weights.
NOTES = """
import json
from ultralytics_wb_ddp import train_distributed

def note(event, trainer):
    import torch.distributed as dist
    from ultralytics.engine.trainer import RANK
    weights = sum(float(part.detach().double().abs().sum()) for part in trainer.model.parameters())
    facts = {"event": event, "epoch": trainer.epoch, "epochs": trainer.epochs, "size": dist.get_world_size(),
             "directory": str(trainer.save_dir), "rank": RANK, "images": len(trainer.train_loader.sampler), "weights": weights, "lr": trainer.optimizer.param_groups[0]["lr"]}
    with open(f"notes-{os.environ['RANK']}.jsonl", "a") as file:
        file.write(json.dumps(facts) + "\\n")

def watch(model):
    add_wandb_callback(model)
    for event in ("on_train_epoch_end", "on_fit_epoch_end"):
        model.add_callback(event, lambda trainer, event=event: note(event, trainer))
    return model

SETTINGS["nbs"] = 16  # each batch is a step
watch(model)
"""

RunAgents = Callable[..., Job]


@pytest.fixture(scope="session")
def run_agents(launch_agents: LaunchAgents) -> RunAgents:
    """Runs a script under torchrun that notes what each rank sees; a file is run as it is."""

    def run(script: str | Path, *words: str, **options: Any) -> Job:
        text = PRELUDE + NOTES + textwrap.dedent(script) if isinstance(script, str) else script.read_text()
        return launch_agents(text, *words, **options)

    return run


def notes(job: Job) -> dict[int, list[dict[str, Any]]]:
    """Return what each rank has noted."""
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for file in sorted(job.directory.glob("notes-*.jsonl")):
        found[int(file.stem.partition("-")[2])] += [json.loads(line) for line in file.read_text().splitlines()]
    return found


def succeeded(job: Job) -> Job:
    assert job.exit_code == 0, job.output[-5000:]
    return job


# Three ways to launch the same training: Ultralytics' own, torchrun, torch.multiprocessing.spawn

TRAIN = "watch(YOLO(os.environ['MODEL'])).train(**{**TWO_PROCESSES, **SETTINGS})"
SPAWN = f"""
def body(rank, port):
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    {TRAIN}

if __name__ == "__main__":
    import torch
    from ultralytics_wb_ddp.distributed.parallel_config import find_free_port

    torch.multiprocessing.spawn(body, (find_free_port(),), nprocs=2)
"""
LAUNCHES = ["ultralytics", "torchrun", pytest.param("spawn", marks=NIGHTLY)]  # of which there is an example, too


@pytest.fixture(scope="module")
def launched(run_agents: RunAgents, run_job: RunJob) -> Callable[[str], Job]:
    """Launches the training in one of the ways, once each."""
    ways: dict[str, Callable[[], Job]] = {
        "ultralytics": lambda: run_job(TRAIN, prelude=PRELUDE + NOTES),
        "torchrun": lambda: succeeded(run_agents(TRAIN)),
        "spawn": lambda: run_job(SPAWN, prelude=PRELUDE + NOTES),
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

FOUR = "train_distributed(model, trainer=CpuDDPTrainer, **{**SETTINGS, 'batch': 16})"


@pytest.fixture(scope="module")
def two_nodes(run_agents: RunAgents) -> Job:
    return succeeded(run_agents(FOUR, nodes=2, processes=2))


@NIGHTLY
def test_two_nodes_have_one_run(two_nodes: Job) -> None:
    assert epochs(two_nodes) == [*EPOCHS, END]
    assert two_nodes.run.state == "finished"
    assert len(list(two_nodes.directory.glob("train*"))) == 1


@NIGHTLY
def test_ranks_of_two_nodes_train_one_model(two_nodes: Job) -> None:
    found = notes(two_nodes)

    assert sorted(found) == [0, 1, 2, 3]
    for rank in (1, 2, 3):
        assert [note["event"] for note in found[rank]] == [note["event"] for note in found[0]]
        assert [note["weights"] for note in found[rank]] == pytest.approx([note["weights"] for note in found[0]])
    assert found[0][0]["weights"] != found[0][-1]["weights"]
    assert {note["size"] for note in found[0]} == {4}


@NIGHTLY
def test_two_nodes_train_as_one_node_with_as_many_processes(two_nodes: Job, run_agents: RunAgents) -> None:
    one_node = succeeded(run_agents(FOUR, processes=4))

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
def example(run_agents: RunAgents, can_unshare: bool) -> Job:  # noqa: FBT001  # a fixture
    """The example for two nodes, one process each, whose file systems differ where this machine allows that."""
    apart = "runs" if can_unshare else ""
    return succeeded(run_agents(EXAMPLE, "--cpu", nodes=2, processes=1, apart=apart))


def test_example_for_two_nodes_makes_one_run(example: Job) -> None:
    assert epochs(example) == [*EPOCHS, END]
    assert example.run.state == "finished"
    assert "mAP50-95" in example.output


def test_nodes_without_a_common_file_system_evaluate_the_same_checkpoint(example: Job, can_unshare: bool) -> None:  # noqa: FBT001  # a fixture
    if not can_unshare:
        pytest.skip("this machine allows no file system of one's own")
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
def twice(run_agents: RunAgents) -> Job:
    """Two trainings of one name, the second of which ends after some seconds."""
    return succeeded(
        run_agents("""
        first = train_distributed(model, trainer=CpuDDPTrainer, **{**SETTINGS, "epochs": 1})
        model = watch(YOLO(os.environ["MODEL"]))
        parallel = {"parallel": {"world_size": 2, "backend": "gloo", "find_unused_parameters": False}}
        second = train_distributed(model, parallel=parallel, trainer=CpuDDPTrainer, **SETTINGS, time=0.0008)
        got = [type(first).__name__, type(second).__name__, model.trainer.parallel.find_unused_parameters]
        open(f"got-{os.environ['RANK']}.json", "w").write(json.dumps(got))
        """)
    )


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


@NIGHTLY
def test_own_launch_takes_port_and_settings(run_job: RunJob, release: Path, releases: Releases) -> None:
    port = find_free_port()
    script = f"""
    def see(trainer):
        facts = ["PORT", os.environ["MASTER_PORT"], str(trainer.model.find_unused_parameters), str(trainer.world_size)]
        os.write(1, " ".join([*facts, os.linesep]).encode())  # at once: two ranks write here
    model.add_callback("on_train_start", see)
    parallel = dict(world_size=2, master_port={port}, backend="gloo", find_unused_parameters=False)
    train_distributed(model, parallel=dict(parallel=parallel), trainer=CpuDDPTrainer, **{{**SETTINGS, "epochs": 1}})
    """
    job = run_job(script, prelude=PRELUDE + NOTES, PYTHONPATH=releases.path(release))

    assert job.output.count(f"PORT {port} False 2") == 2
    assert job.run.state == "finished"


# What cannot work


RANK_0 = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0"} | {
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "12355",
}


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_port_in_use_is_named_before_anything_is_loaded(busy_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ConfigurationError, match=f"MASTER_PORT={busy_port} is in use"):
        train_distributed(None, parallel=ParallelConfig(master_port=busy_port))


@pytest.mark.parametrize("device", ["0", "0,1,2", [0, 1, 2], "cpu"])
def test_devices_that_contradict_the_number_of_processes_are_named(device: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"parallel.world_size=2 contradicts device=.* name as many devices"):
        train_distributed(None, parallel=ParallelConfig(world_size=2), device=device)


@pytest.mark.parametrize("device", ["cpu", "0,1", None])
@pytest.mark.parametrize("env", [{}, RANK_0], ids=["launch", "rank"])
def test_output_device_is_refused_where_the_processes_are_on_the_cpu(
    device: str | None, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    config = ParallelConfig(world_size=2 if device != "cpu" or env else 1, output_device=0)

    with pytest.raises(
        ConfigurationError, match=r"parallel.output_device=0 is for processes on GPUs, and these are on"
    ):
        train_distributed(None, parallel=config, trainer=CpuDDPTrainer, device=device)


@pytest.mark.parametrize(
    ("names", "own", "number"),
    [
        (["0", "1"], 1, 1),
        (["2", "3"], 3, 3),  # a release that counts as the user does
        (["2", "3"], 1, 1),  # one that shows its workers nothing else than what trains
        ([], None, 3),
    ],
)
def test_output_device_is_counted_as_the_worker_does(
    names: list[str], own: int | None, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")

    assert local_device_number(int((names or ["3"])[-1]), names, own) == number


@NIGHTLY
def test_output_device_reaches_pytorch(run_job: RunJob) -> None:
    script = """
    from ultralytics_wb_ddp import ParallelConfig
    from ultralytics_wb_ddp.distributed.trainer_mixin import DistributedTrainerMixin

    class Asking(DistributedTrainerMixin, CpuDDPTrainer):  # past the check, so that PyTorch refuses it
        parallel = ParallelConfig(output_device=1)

    model.train(**{**TWO_PROCESSES, "trainer": Asking})
    """
    job = run_job(script, check=False)

    assert "output_device 1, and module parameters {device(type='cpu')}" in job.output


def test_port_in_use_is_named_before_a_launch(busy_port: int) -> None:
    with pytest.raises(ConfigurationError, match=f"MASTER_PORT={busy_port} is in use"):
        train_distributed(None, parallel=ParallelConfig(world_size=2, master_port=busy_port), device="0,1")


def test_wrong_setting_is_an_error_in_every_rank_at_once(run_agents: RunAgents) -> None:
    started = time.monotonic()
    job = run_agents(
        """
        import pathlib, time
        try:
            train_distributed(model, parallel={"parallel": {"world_size": 4}}, trainer=CpuDDPTrainer, **SETTINGS)
        except ValueError as error:
            pathlib.Path(f"error-{os.environ['RANK']}").write_text(str(error))
            while not all(os.path.exists(f"error-{rank}") for rank in (0, 1)):  # torchrun ends the others at once
                time.sleep(0.1)
            raise
        """
    )

    assert job.exit_code != 0
    assert time.monotonic() - started < 60
    for rank in (0, 1):
        assert "world_size=4 contradicts WORLD_SIZE=2" in (job.directory / f"error-{rank}").read_text()
    assert "parallel.world_size=4 contradicts WORLD_SIZE=2" in job.output
    assert job.runs == []
