"""Trainings with the callback that meet trouble before they begin, with W&B, or in a user's code."""

from __future__ import annotations

import pytest

from support.jobs import NIGHTLY, RunJob, epochs
from support.releases import INSTALLED, Releases

pytestmark = NIGHTLY
SCENARIO = "callback_trainings.py"
ON_ANOTHER_HOST = {
    "WANDB_RUN_ID": "gone",
    "WANDB_PROJECT": "demo",
    "ULTRALYTICS_WB_DDP": '{"version": 2, "run_id": "gone", "state": "open", "host": "another-host"}',
}
NO_SERVER = {  # nothing listens on port 9 of this machine
    "WANDB_MODE": "online",
    "WANDB_BASE_URL": "http://127.0.0.1:9",
    "WANDB_API_KEY": "",
    "WANDB_ERROR_REPORTING": "false",
}


def test_damaged_handoff_ends_the_launch_before_workers_start(run_job: RunJob) -> None:
    damaged = {"WANDB_RUN_ID": "abc", "ULTRALYTICS_WB_DDP": '{"version": 99}'}
    job = run_job(SCENARIO, "launch_by_hand", check=False, **damaged)

    assert job.exit_code == 1
    assert "version 99" in job.output
    assert "torch.distributed.run" not in job.output


def test_trouble_with_wandb_does_not_end_the_training(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "train", **ON_ANOTHER_HOST)

    assert "2 epochs completed" in job.output
    assert "'gone' is open on host 'another-host'" in job.output
    assert "prepare_for_training()" in job.output
    assert f"send it when the launcher is done with: ultralytics-wb-ddp sync {job.run.path.parent}" in job.output
    assert (job.run.id, epochs(job)) == ("gone", [1, 2, 2, 2])


def test_trouble_with_wandb_ends_the_training_where_that_is_wanted(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "train", "raise", check=False, **ON_ANOTHER_HOST)

    assert job.exit_code == 1
    assert "ConnectionError: run 'gone' is open on host 'another-host'" in job.output


def test_training_without_an_api_key_is_written_to_disk(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "train_in_project_demo", **NO_SERVER)

    kept = next(run for run in job.runs if run.history)
    assert [row["epoch"] for row in kept.history] == [1, 1, 1]
    assert kept.state == "finished"
    assert "W&B cannot be used (UsageError: No API key configured" in job.output
    assert f"ultralytics-wb-ddp sync {kept.path.parent}" in job.output


def test_disabled_wandb_is_left_alone(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "train", WANDB_MODE="disabled")

    assert job.runs == []
    assert "could not be logged" not in job.output


@pytest.mark.parametrize(
    ("whose", "variables"),
    [
        ("callbacks", {"HOME": "/dev/null/home"}),
        ("users", {"WANDB_DATA_DIR": "/dev/null/data", "WANDB_CACHE_DIR": "/dev/null/cache"}),
    ],
)
def test_artifacts_and_tables_are_logged_where_their_directories_cannot_be_written(
    run_job: RunJob, whose: str, variables: dict[str, str]
) -> None:
    job = run_job(SCENARIO, "train_with_plots_and_checkpoints", whose, **variables)

    assert {"per_class_metrics", "results"} <= set().union(*job.run.history)
    assert "model" in {artifact.type for artifact in job.run.artifacts}
    assert "could not be logged" not in job.output
    assert job.output.count("WANDB_DATA_DIR") == 1


def test_run_that_was_finished_before_the_training_is_resumed(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "train_with_a_finished_run")
    before, training = job.runs

    assert training.id == before.id
    assert training.project == "demo"
    assert [row["epoch"] for row in training.history] == [1, 2, 2, 2]
    assert training.config["ultralytics"]["epochs"] == 2
    assert training.state == "finished"


def test_chart_that_fails_costs_only_itself(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "lose_the_classes_at_the_end")

    assert "curves could not be logged" in job.output
    assert [row["epoch"] for row in job.run.history] == [1, 2, 2, 2]
    assert any(artifact.type == "model" for artifact in job.run.artifacts)
    assert job.run.state == "finished"


@pytest.mark.parametrize(
    ("where", "name", "release"),
    [
        ("method", "Counter.count", INSTALLED),
        ("lambda", "with_a_lock.<locals>.<lambda>", "8.3.0"),
    ],
)
def test_callback_that_cannot_travel_is_named_before_the_launch(
    run_job: RunJob, releases: Releases, where: str, name: str, release: str
) -> None:
    path = releases.path(releases.ultralytics(release))
    job = run_job(SCENARIO, "train_with_a_lock", where, "2", check=False, PYTHONPATH=path)

    assert job.exit_code == 1
    assert f"callback '{name}' of event 'on_train_start' cannot be sent to the processes that train" in job.output
    assert "cannot pickle '_thread.lock' object" in job.output
    assert (job.directory / "train/of-yesterday.txt").exists()
    assert job.runs == []


def test_callback_that_cannot_travel_does_no_harm_in_one_process(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "train_with_a_lock", "method", "1")

    assert job.run.state == "finished"


def test_configuration_of_the_launchers_run_is_that_of_the_training_unless_the_callback_says_otherwise(
    run_job: RunJob,
) -> None:
    job = run_job(SCENARIO, "overrule_the_manager")

    assert len(job.runs) == 1, "strategy='main' is stronger than run_mode='new'"
    assert [artifact for artifact in job.run.artifacts if artifact.type == "model"] == []
    assert not any(key.startswith("ranks/") for row in job.run.history for key in row)
