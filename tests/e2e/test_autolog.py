"""Trainings of scripts that do not register a callback: ``autolog``, and the command ``run``."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path

import pytest

from support.jobs import EPOCHS, NIGHTLY, Job, RunJob, epochs, job_environment, run_in
from support.paths import SCENARIOS, TESTS, TINY
from support.releases import INSTALLED, Releases
from ultralytics_wb_ddp.wandb_client.run_file import RecordedRun

OLDEST = "8.3.0"
SCENARIO = "autolog.py"
YOLO_ON_CPU = str(TESTS / "support/yolo_on_cpu")
RUN = [sys.executable, "-m", "ultralytics_wb_ddp.cli", "run", "--project", "demo"]
IN_BOTH_RELEASES = pytest.mark.parametrize("release", [INSTALLED, pytest.param(OLDEST, marks=NIGHTLY)])


class Shell:
    """A shell in which users type commands, with a release of Ultralytics that trains on the CPU."""

    def __init__(self, directory: Path, shapes: Path, path: str) -> None:
        for folder in ("home", "yolo"):
            (directory / folder).mkdir()
        commands = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        paths = os.pathsep.join(filter(None, [path, str(TESTS), YOLO_ON_CPU]))
        self.directory = directory
        self.environment = {**job_environment(directory, shapes), "PYTHONPATH": paths, "PATH": commands}
        self.arguments = [f"model={TINY}", f"data={shapes}", "epochs=2", "imgsz=64", "batch=8", "workers=0"]
        self.arguments += ["plots=False", "deterministic=False", f"project={directory}"]

    def run(self, *command: str, check: bool = True, **env: str) -> Job:
        """Run a command under ``ultralytics-wb-ddp run``."""
        return run_in(self.directory, [*RUN, "--", *command], {**self.environment, **env}, check=check)


@pytest.fixture
def shell(tmp_path: Path, shapes: Path, releases: Releases, release: str) -> Shell:
    """A shell of one release."""
    return Shell(tmp_path, shapes, releases.path(releases.ultralytics(release)))


@pytest.fixture
def release() -> str:
    """The release of tests that try no other."""
    return INSTALLED


def assert_one_whole_run(job: Job) -> None:
    """Assert that a training in two processes is one run with all rows, and that rank 1 has not imported wandb."""
    assert (job.run.state, job.run.exit_code, job.run.project) == ("finished", 0, "demo")
    assert [epoch for epoch in epochs(job) if epoch is not None][:2] == EPOCHS[:2]
    assert any("metrics/mAP50(B)" in row for row in job.run.history)
    assert sorted(file.name for file in job.directory.glob("rank-*")) == [
        "rank-0-imported-wandb-True",
        "rank-1-imported-wandb-False",
    ]


@IN_BOTH_RELEASES
def test_yolo_command_in_two_processes_is_one_run_also_with_the_stock_callback(shell: Shell) -> None:
    run_in(shell.directory, ["yolo", "settings", "wandb=True"], shell.environment)
    job = shell.run("yolo", "detect", "train", *shell.arguments, "device=0,1", "name=train")

    assert_one_whole_run(job)


@NIGHTLY
@IN_BOTH_RELEASES
@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, str(SCENARIOS / SCENARIO), "train", "train"],
        [
            *[sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29541"],
            *[str(SCENARIOS / SCENARIO), "train_as_rank"],
        ],
    ],
    ids=["python", "torchrun"],
)
def test_script_without_a_line_is_one_run(shell: Shell, command: list[str]) -> None:
    assert_one_whole_run(shell.run(*command))


@NIGHTLY
@IN_BOTH_RELEASES
def test_run_that_a_launcher_names_is_continued(shell: Shell) -> None:
    variables = {"WANDB_RUN_ID": "mine", "WANDB_PROJECT": "demo"}
    job = shell.run("yolo", "detect", "train", *shell.arguments, "device=0,1", "name=train", **variables)

    assert_one_whole_run(job)
    assert job.run.id == "mine"


@NIGHTLY
@IN_BOTH_RELEASES
def test_failed_training_is_a_failed_run_and_the_command_fails(shell: Shell) -> None:
    job = shell.run(sys.executable, str(SCENARIOS / SCENARIO), "fail", check=False)

    assert job.exit_code == 1
    assert (job.run.state, job.run.exit_code) == ("failed", 1)


def assert_tuning_is_logged(job: Job) -> None:
    """Assert that a tuning of two iterations is two runs and their summary, in one group."""
    by_type: dict[str | None, list[RecordedRun]] = {"tune": [], "summary": []}
    for run in job.runs:
        by_type[run.job_type].append(run)
    (summary,) = by_type["summary"]
    assert {run.group for run in job.runs} == {summary.id}
    assert summary.id.startswith("tune_")
    assert [run.name for run in by_type["tune"]] == ["tune-1", "tune-2"]
    assert {(run.state, run.exit_code, run.project) for run in job.runs} == {("finished", 0, "demo")}
    assert [row["iteration"] for row in summary.history if "fitness" in row] == [1, 2]
    assert {"hyperparameters/lr0", "fitness"} <= set(summary.history[0])
    assert summary.summary["best/iteration"] in {1, 2}
    assert set(summary.summary["best/hyperparameters"]) >= {"lr0", "momentum"}
    assert any("iterations" in row for row in summary.history)


@IN_BOTH_RELEASES
def test_each_iteration_of_a_tuning_is_a_run_and_one_run_has_their_results(shell: Shell) -> None:
    assert_tuning_is_logged(shell.run(sys.executable, str(SCENARIOS / SCENARIO), "tune"))


@NIGHTLY
@IN_BOTH_RELEASES
def test_tuning_of_a_script_with_autolog_is_logged_in_the_same_way(shell: Shell) -> None:
    command = [sys.executable, str(SCENARIOS / SCENARIO), "tune_with_autolog"]
    assert_tuning_is_logged(run_in(shell.directory, command, shell.environment))


@NIGHTLY
def test_each_trial_of_a_tuning_with_ray_is_a_run_and_one_run_has_their_results(run_job: RunJob) -> None:
    pytest.importorskip("ray.tune", reason="the extra 'ray' is not installed")
    job = run_job(SCENARIO, "tune_with_ray", RAY_USAGE_STATS_ENABLED="0")

    (summary,) = [run for run in job.runs if run.job_type == "summary"]
    trials = [run for run in job.runs if run.job_type == "tune"]
    assert {run.group for run in job.runs} == {summary.id}
    assert sorted(run.name for run in trials) == ["tune-00000", "tune-00001"]
    assert {(run.state, run.exit_code, run.project) for run in job.runs} == {("finished", 0, "demo")}
    assert sorted(row["hyperparameters/lr0"] for row in summary.history if "fitness" in row) == [0.0001, 0.01]
    assert summary.summary["best/iteration"] in {1, 2}
    assert any("iterations" in row for row in summary.history)


def test_autolog_logs_all_models_until_it_is_disabled(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "train_several_models")

    assert Counter((run.name, *run.tags) for run in job.runs) == Counter(
        [("before", "all"), ("after", "all"), ("own", "own")]
    )
    assert {(run.state, run.exit_code) for run in job.runs} == {("finished", 0)}


@NIGHTLY
@IN_BOTH_RELEASES
def test_workers_of_a_training_with_autolog_log_to_one_run(run_job: RunJob, releases: Releases, release: str) -> None:
    job = run_job(SCENARIO, "train_in_two_processes", PYTHONPATH=releases.path(releases.ultralytics(release)))

    assert epochs(job)[:2] == EPOCHS[:2]
    assert (job.run.state, job.run.exit_code) == ("finished", 0)
