"""The examples run as it says at their tops."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from wandb_server import WandbServer

from support.example_texts import commands, header
from support.jobs import END, EPOCHS, NIGHTLY, Job, LaunchAgents, epochs, job_environment, run_in
from support.paths import ROOT, TINY
from support.s3_service import S3Service


def run_as_it_says(example: str, directory: Path, **env: str) -> Job:
    """Run the commands with which an example is tried without GPUs; the model is the smallest that there is."""
    for folder in ("home", "yolo"):
        (directory / folder).mkdir()
    (directory / "examples").symlink_to(ROOT / "examples")
    shutil.copy(TINY, directory / "yolo11.yaml")  # where "yolo11n.yaml" is looked for
    # By default a relative project lies in the repository that Ultralytics is installed in.
    shell = [f"yolo settings runs_dir={directory / 'runs'}", *commands(header(example).partition("Without ")[2])]
    environment = {
        **job_environment(directory, directory),
        "WANDB_MODE": "online",  # unless the command says otherwise
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        **env,
    }
    return run_in(directory, ["bash", "-ec", "\n".join(shell)], environment)


@NIGHTLY
def test_manager_holds_the_run_before_and_after_the_training(tmp_path: Path) -> None:
    job = run_as_it_says("examples/manager.py", tmp_path)

    assert (job.run.state, job.run.name, job.run.group) == ("finished", "my-training", "exp-1")
    assert epochs(job) == [*EPOCHS, END]
    assert job.run.summary["weights"].endswith("best.pt"), "logged after the training"
    assert {artifact.type for artifact in job.run.artifacts} >= {"training-inputs", "model"}
    assert "the run: ultralytics-wb-ddp sync " in job.output


@NIGHTLY
def test_spawned_processes_have_one_run(tmp_path: Path) -> None:
    job = run_as_it_says("examples/spawn.py", tmp_path)

    assert epochs(job) == [*EPOCHS, END]
    assert (job.run.project, job.run.state) == ("demo", "finished")
    assert job.output.count("mAP50-95: ") == 1, "rank 0 alone has metrics"


@NIGHTLY
def test_what_a_training_leaves_is_in_s3_and_referred_to(tmp_path: Path, s3: S3Service, bucket: str) -> None:
    job = run_as_it_says("examples/s3_storage.py", tmp_path, **s3.environment)

    assert (job.run.state, job.run.exit_code) == ("finished", 0)
    artifacts = [artifact for artifact in job.run.artifacts if artifact.type in {"model", "results"}]
    checkpoints = f"yolo/checkpoints/{job.run.id}/epoch-2"
    keys = [f"{checkpoints}/best.pt", f"{checkpoints}/last.pt", "yolo/results.csv"]
    assert s3.keys(bucket) == keys
    references = {entry for artifact in artifacts for entry in artifact.entries.values()}
    assert references == {f"s3://{bucket}/{key}" for key in keys}


@NIGHTLY
@pytest.mark.parametrize(
    "example",
    ["examples/own_run.py", "examples/callbacks_by_hand.py", "examples/torchrun_one_node.py", "examples/job.yaml"],
)
def test_training_is_one_run(tmp_path: Path, example: str) -> None:
    job = run_as_it_says(example, tmp_path)

    assert (job.run.project, job.run.state, job.run.exit_code) == ("demo", "finished", 0)
    assert {epoch for epoch in epochs(job) if epoch} == {*EPOCHS, END}


@NIGHTLY
@pytest.mark.parametrize("example", ["examples/sweep.py", "examples/sweep.yaml"])
def test_trials_are_runs_of_their_own(tmp_path: Path, example: str) -> None:
    with WandbServer() as server:
        run_as_it_says(example, tmp_path, **server.environment)

    assert [run.state for run in server.runs] == ["finished", "finished"]
    assert {run.sweep for run in server.runs} == {server.sweeps[0].name}
    assert all("metrics/mAP50-95(B)" in run.summary for run in server.runs)


@pytest.mark.parametrize(
    ("strategy", "nodes", "names"),
    [
        ("main", 1, [""]),
        ("all", 1, ["rank-0", "rank-1"]),
        ("node", 2, ["worker-0", "worker-1"]),
        pytest.param("main", 2, [""], marks=NIGHTLY),
        pytest.param("node", 1, [""], marks=NIGHTLY),
        pytest.param("all", 2, ["rank-0", "rank-1"], marks=NIGHTLY),
    ],
)
def test_ranks_of_a_program_log_by_the_strategy(
    launch_agents: LaunchAgents, strategy: str, nodes: int, names: list[str]
) -> None:
    example, words = (
        str(ROOT / "examples/distributed.py"),
        ("--log_strategy", strategy, "--group_name", "my-experiment"),
    )
    job = launch_agents(example, *words, nodes=nodes, processes=2 // nodes)

    runs = sorted(job.runs, key=lambda run: run.id)
    assert [run.name for run in runs] == names
    for run in runs:
        assert (run.group, run.project, run.state, run.exit_code) == ("my-experiment", "demo", "finished", 0)
        assert [row["epoch"] for row in run.history] == [1, 2, 3]
    assert [len(run.artifacts) for run in runs] == [1, *[0] * (len(runs) - 1)], "rank 0 has saved the checkpoint"
    assert set(runs[0].artifacts[0].entries) == {"checkpoint.pt"}
