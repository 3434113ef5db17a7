"""Several trainings, one after the other or at the same time: each lands in its own run, or is told where it lands."""

from __future__ import annotations

import threading

import pytest
from wandb_server import WandbServer

from support.jobs import NIGHTLY, Job, RunJob, RunOnline
from support.measures import assert_is_one_whole_run, epochs_of
from ultralytics_wb_ddp import Links

SCENARIO = "many_trainings.py"


@pytest.fixture(scope="module")
def folds(run_online: RunOnline) -> tuple[Job, WandbServer]:
    """Two trainings in one process, of models with a callback that finishes the active run."""
    return run_online(SCENARIO, "train_folds")


@NIGHTLY
def test_folds_in_one_process_have_a_run_each(folds: tuple[Job, WandbServer]) -> None:
    _, server = folds

    assert [(run.fields["displayName"], run.fields["groupName"]) for run in server.runs] == [
        ("fold-0", "folds"),
        ("fold-1", "folds"),
    ]
    assert [epochs_of(run) for run in server.runs] == [[1, 1, 1]] * 2
    assert [(run.state, run.exit_code, run.sessions) for run in server.runs] == [("finished", 0, 1)] * 2


def stays_open(run_id: str) -> str:
    return f"run {run_id} stays open: this package finishes it after the training"


@NIGHTLY
def test_callback_of_the_users_cannot_finish_the_run_of_its_training(folds: tuple[Job, WandbServer]) -> None:
    job, server = folds

    assert [job.output.count(stays_open(run.id)) for run in server.runs] == [1, 1]
    assert [(run.state, epochs_of(run)) for run in server.runs] == [("finished", [1, 1, 1])] * 2


@NIGHTLY
def test_callback_of_the_users_cannot_finish_the_managers_run(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "finish_the_managers_run")

    assert stays_open(job.run.id) in job.output
    assert (job.run.state, epochs_of(job.run)) == ("finished", [1, 1, 1])


@NIGHTLY
def test_run_of_the_users_beside_a_training_is_left_alone(run_online: RunOnline) -> None:
    _, server = run_online(SCENARIO, "open_another_run_later")
    ours, later = server.runs

    assert epochs_of(ours) == [1, 1, 1]
    assert (later.id, len(later.history), later.state) == ("later", 1, "finished")


@NIGHTLY
def test_jobs_at_the_same_time_have_a_run_each(run_job: RunJob) -> None:
    jobs: list[Job] = []
    with WandbServer() as server:
        threads = [
            threading.Thread(target=lambda: jobs.append(run_job(SCENARIO, "train_with_manager", **server.environment)))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert [job.exit_code for job in jobs] == [0, 0]
    assert [epochs_of(run) for run in server.runs] == [[1, 1, 1]] * 2
    assert {run.state for run in server.runs} == {"finished"}


@NIGHTLY
def test_run_id_left_over_in_the_shell_is_doubted(run_job: RunJob) -> None:
    with WandbServer() as server:
        named = {**server.environment, "WANDB_RUN_ID": "yesterdays"}
        first = run_job(SCENARIO, "train_alone", **named)
        second = run_job(SCENARIO, "train_alone", **named)

    assert "unset WANDB_RUN_ID" not in first.output
    assert "run yesterdays holds 1 epoch of an earlier training already" in second.output
    assert "'unset WANDB_RUN_ID' if it is left over" in second.output
    (run,) = server.runs
    assert epochs_of(run) == [1] * 6
    assert run.destroyed_rows == []


@NIGHTLY
@pytest.mark.parametrize("usage", ["ours", "users"])
def test_preempted_single_process_marks_the_run(run_online: RunOnline, usage: str) -> None:
    job, server = run_online(SCENARIO, "be_preempted", usage, check=False)

    assert job.exit_code == 143
    assert_is_one_whole_run("SIGTERM, one process", server, epochs=[1], state="preempted", exit_code=143)


@NIGHTLY
def test_trial_of_a_sweep_keeps_what_the_sweep_has_set_and_leads_to_it(run_online: RunOnline) -> None:
    job, server = run_online(SCENARIO, "run_sweep")

    run = assert_is_one_whole_run(
        "trial of a sweep, the script's run", server, epochs=[1, 1, 1], state="finished", exit_code=0
    )
    assert run.sweep
    assert run.values["lr0"] == 0.5
    assert run.values["ultralytics"]["lr0"] == 0.01
    place = f"{server.url}/team/demo"
    assert Links.of_training(job.directory / "train") == Links(
        run=f"{place}/runs/{run.id}", project=place, sweep=f"{place}/sweeps/{run.sweep}"
    )
    assert f"attached to run {run.id} of project demo: {place}/runs/{run.id}, sweep: {place}/sweeps/{run.sweep}" in (
        job.output
    )
