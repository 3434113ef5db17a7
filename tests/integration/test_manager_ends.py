"""However a launcher ends, its manager's run says so and holds every row: real kills and signals, without a training."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from wandb_server import WandbServer

from support.faults import mark_when_opening
from support.jobs import NIGHTLY, RunJob, RunOnline
from support.measures import assert_is_one_whole_run

SCENARIO = "managers.py"


def test_run_that_is_being_opened_is_failed_after_ctrl_c(run_online: RunOnline) -> None:
    job, server = run_online(SCENARIO, "press_ctrl_c_while_opening", check=False)

    assert job.exit_code == -signal.SIGINT
    assert [(run.state, run.exit_code) for run in server.runs] == [("failed", 255)]


def test_sigterm_while_a_managers_run_is_being_opened_ends_it_as_preempted(run_job: RunJob, tmp_path: Path) -> None:
    with WandbServer() as server:
        mark = mark_when_opening(server, tmp_path)
        job = run_job(SCENARIO, "be_terminated_while_opening", mark, check=False, **server.environment)

    (run,) = server.runs
    assert job.exit_code == 143
    assert (run.state, run.exit_code) == ("preempted", 143)


@pytest.mark.parametrize(
    ("end", "state", "exit_code"),
    [
        ("killed", "failed", 1),
        pytest.param("terminated", "preempted", 143, marks=NIGHTLY),
        pytest.param("failed", "failed", 1, marks=NIGHTLY),
        pytest.param("done", "finished", 0, marks=NIGHTLY),
    ],
)
def test_run_that_no_worker_takes_up_ends_as_its_launcher(
    run_job: RunJob, end: str, state: str, exit_code: int
) -> None:
    with WandbServer() as server:
        run_job(SCENARIO, "close_and_end", end, check=False, **server.environment)
        deadline = time.monotonic() + 60
        while server.runs[0].state != state and time.monotonic() < deadline:
            time.sleep(0.5)
        time.sleep(1)  # in which a wrong end may arrive

    name = f"launcher {end}, run closed and not yet resumed"
    run = assert_is_one_whole_run(name, server, epochs=[], state=state, exit_code=exit_code)
    assert [row["before"] for row in run.history] == [1]


@NIGHTLY
def test_interrupted_launcher_ends_in_the_state_of_an_interrupt(run_online: RunOnline) -> None:
    job, server = run_online(SCENARIO, "be_interrupted", check=False)

    assert job.exit_code != 0
    assert_is_one_whole_run("Ctrl-C in the launcher", server, epochs=[], state="failed", exit_code=255)


@pytest.mark.parametrize(
    ("end", "exit_code"),
    [("SystemExit(3)", 3), pytest.param("sys.exit(4)", 4, marks=NIGHTLY), pytest.param("1 / 0", 1, marks=NIGHTLY)],
)
def test_exit_code_of_the_launcher_is_the_runs(run_online: RunOnline, end: str, exit_code: int) -> None:
    job, server = run_online(SCENARIO, "end_in_the_block", end, check=False)

    assert job.exit_code == exit_code
    assert_is_one_whole_run(f"{end} in the launcher", server, epochs=[], state="failed", exit_code=exit_code)


def test_launcher_killed_with_its_children_ends_in_a_failed_run_with_every_row(run_online: RunOnline) -> None:
    _, server = run_online(SCENARIO, "be_killed_with_children", check=False)

    run = assert_is_one_whole_run("launcher killed before the training", server, epochs=[], state="failed", exit_code=1)
    assert [row["before"] for row in run.history] == [1]


@NIGHTLY
def test_finishing_twice_is_harmless(run_online: RunOnline) -> None:
    _, server = run_online(SCENARIO, "finish_twice")

    run = assert_is_one_whole_run("finish() twice", server, epochs=[], state="failed", exit_code=3)
    assert len(run.history) == 1


def test_preempted_process_ends_after_its_run(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "watch_a_preempted_process")

    # A container and a step of Slurm's end with their process, and so does whatever is beside it.
    assert "exit code 143 beside it []" in job.output
    assert (job.run.state, job.run.exit_code) == ("failed", 143)
    assert [row["before"] for row in job.run.history] == [1]


def test_session_that_would_write_over_rows_waits_until_they_are_counted(run_online: RunOnline) -> None:
    _, server = run_online(SCENARIO, "close_and_take_back", count_lag=12.0)

    run = assert_is_one_whole_run(
        "none: closed and taken back; counts 12 s late", server, epochs=[], state="finished", exit_code=0
    )
    assert len(run.history) == 4


@NIGHTLY
def test_log_file_has_no_progress_although_wandb_makes_a_terminal_of_it(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "show_progress")

    assert "a terminal: True" in job.output
    assert "what goes on" not in job.output
    assert "counting" not in job.output
