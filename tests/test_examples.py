"""The examples: short, each with what it shows and how to run it at its top, and each runs as it says there."""

from __future__ import annotations

import ast
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from wandb_server import WandbServer

from support.jobs import END, EPOCHS, NIGHTLY, Job, epochs, job_environment, run_in
from support.paths import ROOT, TESTS, TINY
from support.s3_service import S3Service

README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = sorted(path.name for path in (ROOT / "examples").iterdir() if path.is_file())

# Without GPUs each is run by a test: those of this file do what the example says, the others do more with it.
RUN_BY = {
    "callbacks_by_hand.py": "test_examples.py::test_training_is_one_run",
    "flyte_task.py": "test_flyte.py::test_training_in_a_flyte_task_is_one_run",
    "job.yaml": "test_examples.py::test_training_is_one_run",
    "kfold.py": "test_groups.py::test_example_cross_validates_offline_and_goes_on",
    "manager.py": "test_examples.py::test_manager_holds_the_run_before_and_after_the_training",
    "own_run.py": "test_examples.py::test_training_is_one_run",
    "ray_train.py": "test_ray.py::test_training_that_ray_starts_again_goes_on_in_its_run",
    "s3_storage.py": "test_examples.py::test_what_a_training_leaves_is_in_s3_and_referred_to",
    "slurm.sbatch": "test_slurm.py::test_all_starts_of_a_job_are_one_run",
    "spawn.py": "test_examples.py::test_spawned_processes_have_one_run",
    "sweep.py": "test_examples.py::test_trials_are_runs_of_their_own",
    "sweep.yaml": "test_examples.py::test_trials_are_runs_of_their_own",
    "torchrun_one_node.py": "test_examples.py::test_training_is_one_run",
    "torchrun_two_nodes.py": "test_ddp.py::test_example_for_two_nodes_makes_one_run",
}


def header(example: str) -> str:
    """Return what an example says at its top."""
    text = (ROOT / example).read_text(encoding="utf-8")
    if example.endswith(".py"):
        return ast.get_docstring(ast.parse(text)) or ""
    lines = text.removeprefix("#!/bin/bash\n").splitlines()
    end = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return "\n".join(line[2:] for line in lines[:end])


def commands(said: str) -> list[str]:
    """Return the commands among what an example says."""
    return re.findall(r"^ {2,4}(\S.*)$", said.replace("\\\n", " "), re.MULTILINE)


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_is_short_and_begins_with_what_it_shows_and_how_to_run_it(name: str) -> None:
    example = f"examples/{name}"
    said = header(example)

    assert len((ROOT / example).read_text(encoding="utf-8").splitlines()) < 60
    assert re.match(r"[A-Z][^\n]{40,110}[.:]\n", said), "a sentence"
    assert example in commands(said)[0]
    assert f"| [`{name}`]({example}) |" in README, "the table of examples"


def test_every_example_is_run_by_a_test() -> None:
    assert sorted(RUN_BY) == EXAMPLES
    for name, test in RUN_BY.items():
        file, _, function = test.partition("::")
        text = (TESTS / file).read_text(encoding="utf-8")
        assert f'"examples/{name}"' in text
        assert f"def {function}(" in text


def test_readme_names_no_example_that_is_not_there() -> None:
    assert set(re.findall(r"\(examples/([^)]+)\)", README)) == set(EXAMPLES)


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
