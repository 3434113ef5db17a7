"""However a training ends, its run says so and holds every row: real kills, real signals, real launches."""

from __future__ import annotations

import pytest
from wandb_server import WandbServer

from support.jobs import NIGHTLY, LaunchAgents, RunJob, RunOnline, wait_until_closed
from support.measures import assert_is_one_whole_run

SCENARIO = "true_state.py"
NAMES = {
    "open": "run open in the launcher",
    "closed": "run closed and resumed",
    "own": "run of rank 0",
    "users": "the script's run",
    "alone": "one process",
}


@pytest.mark.parametrize(
    ("usage", "rank"),
    [
        pytest.param("open", "0", marks=NIGHTLY),
        pytest.param("open", "1", marks=NIGHTLY),
        pytest.param("closed", "0", marks=NIGHTLY),
        pytest.param("closed", "1", marks=NIGHTLY),
        pytest.param("own", "0", marks=NIGHTLY),
        ("own", "1"),
    ],
)
def test_killed_worker_ends_in_a_failed_run_with_every_row(run_online: RunOnline, usage: str, rank: str) -> None:
    job, server = run_online(SCENARIO, "train", usage, rank, "be_killed", check=False)

    assert job.exit_code == 1
    assert_is_one_whole_run(f"rank {rank} killed, {NAMES[usage]}", server, epochs=[1], state="failed", exit_code=1)


@NIGHTLY
@pytest.mark.parametrize(
    ("usage", "exit_code"),
    [
        ("closed", 1),
        ("own", 1),
        ("alone", 3),
    ],
)
def test_exit_code_of_a_training_is_the_runs(run_online: RunOnline, usage: str, exit_code: int) -> None:
    job, server = run_online(SCENARIO, "train", usage, "0", "exit_at_once", check=False)

    assert job.exit_code == exit_code  # of the launcher, which Ultralytics gives 1
    assert_is_one_whole_run(f"SystemExit(3) in rank 0, {NAMES[usage]}", server, epochs=[1], state="failed", exit_code=3)


@NIGHTLY
@pytest.mark.parametrize(
    ("usage", "rank"),
    [
        ("own", "1"),
        ("open", "1"),
        ("users", "1"),
        ("closed", "1"),
        ("open", "0"),
        ("users", "0"),
    ],
)
def test_exit_code_of_any_rank_is_the_runs(run_online: RunOnline, usage: str, rank: str) -> None:
    job, server = run_online(SCENARIO, "train", usage, rank, "exit_later", check=False)

    assert job.exit_code == 1
    name = f"SystemExit(3) in rank {rank}, {NAMES[usage]}"
    assert_is_one_whole_run(name, server, epochs=[1], state="failed", exit_code=3)


@NIGHTLY
@pytest.mark.parametrize("usage", ["open", "closed"])
def test_exit_code_of_another_rank_is_that_of_a_run_whose_manager_is_in_rank_0(
    launch_agents: LaunchAgents, usage: str
) -> None:
    with WandbServer() as server:
        job = launch_agents(SCENARIO, "train_in_every_rank", usage, **server.environment)
        wait_until_closed(server)

    assert job.exit_code == 1, job.output
    title = f"SystemExit(3) in rank 1, torchrun, run {usage}"
    assert_is_one_whole_run(title, server, epochs=[1], state="failed", exit_code=3)


@NIGHTLY
def test_callback_that_fails_after_the_training_makes_it_a_failed_one(run_online: RunOnline) -> None:
    job, server = run_online(SCENARIO, "fail_after_the_training", check=False)

    assert job.exit_code == 3
    assert_is_one_whole_run("teardown callback fails", server, epochs=[1, 2, 2, 2], state="failed", exit_code=3)


@NIGHTLY
def test_exception_in_rank_1_ends_in_a_failed_run(run_online: RunOnline) -> None:
    job, server = run_online(SCENARIO, "train", "own", "1", "raise_later", check=False)

    assert job.exit_code == 1
    assert_is_one_whole_run("exception in rank 1, run of rank 0", server, epochs=[1], state="failed", exit_code=1)


@NIGHTLY
@pytest.mark.parametrize(("usage", "rank"), [("own", "0"), ("own", "1"), ("open", "1"), ("closed", "1")])
def test_preempted_worker_marks_the_run(run_online: RunOnline, usage: str, rank: str) -> None:
    job, server = run_online(SCENARIO, "train", usage, rank, "be_terminated", check=False)

    assert job.exit_code == 1
    title = f"SIGTERM to rank {rank}, {NAMES[usage]}"
    assert_is_one_whole_run(title, server, epochs=[1], state="preempted", exit_code=143)


@NIGHTLY
def test_worker_preempted_in_a_collective_marks_the_run(run_online: RunOnline) -> None:
    job, server = run_online(SCENARIO, "train", "own", "1", "terminate_rank_0", check=False)

    assert job.exit_code == 1
    assert_is_one_whole_run("SIGTERM to rank 0 in a collective", server, epochs=[1], state="preempted", exit_code=143)


@NIGHTLY
@pytest.mark.parametrize(
    ("usage", "exit_code"),
    [("open", 143), ("closed", 143), ("users", 1)],  # the user's own "with wandb.init()" says 1
)
def test_preempted_launcher_marks_the_run(run_online: RunOnline, usage: str, exit_code: int) -> None:
    job, server = run_online(SCENARIO, "train", usage, "1", "terminate_launcher", check=False)

    assert job.exit_code != 0
    title = f"SIGTERM to the launcher, {NAMES[usage]}"
    assert_is_one_whole_run(title, server, epochs=[1], state="preempted", exit_code=exit_code)


@NIGHTLY
@pytest.mark.parametrize(
    ("usage", "order"),
    [
        ("users", "workers_first"),
        ("users", "launcher_first"),
        ("open", "workers_first"),
        ("closed", "workers_first"),
        ("closed", "launcher_first"),
        ("users-alone", "launcher_first"),
    ],
)
def test_launch_of_which_every_process_is_terminated_is_preempted(run_job: RunJob, usage: str, order: str) -> None:
    job = run_job(SCENARIO, "train", usage, "0", f"terminate_{order}", check=False)

    assert job.exit_code == 143, job.output[-3000:]
    assert {run.exit_code for run in job.runs} <= {143, 1}


@NIGHTLY
@pytest.mark.parametrize("usage", ["closed", "own"])
def test_ctrl_c_during_the_training_ends_in_the_state_of_an_interrupt(run_online: RunOnline, usage: str) -> None:
    job, server = run_online(SCENARIO, "train", usage, "1", "press_ctrl_c", check=False)

    assert job.exit_code != 0
    title = f"Ctrl-C during the training, {NAMES[usage]}"
    assert_is_one_whole_run(title, server, epochs=[1], state="failed", exit_code=255)
