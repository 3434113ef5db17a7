"""The end of an offline run of the user's: the last line names the command that sends all of the run."""

from __future__ import annotations

import signal

import pytest

from support.jobs import NIGHTLY, Job, RunJob, RunOnline
from ultralytics_wb_ddp.runs.journal import find_sessions

SCENARIO = "offline_runs.py"


def commands(job: Job) -> list[str]:
    """Return the lines that name a command of ours."""
    return [line for line in job.output.splitlines() if " is on disk only; send it with: " in line]


def check_last_word(job: Job) -> None:
    (folder,) = (job.directory / "wandb").glob("offline-run-*-mine")
    message = f"ultralytics_wb_ddp: INFO: run mine is on disk only; send it with: ultralytics-wb-ddp sync {folder}"
    assert commands(job) == [message]
    assert job.output.index("wandb sync /") < job.output.index(message)
    assert job.output.splitlines()[-1] == message


@pytest.mark.parametrize(
    ("processes", "end"),
    [
        ("one-process", "finish-twice"),
        ("no-training", "wandb.finish"),
        ("no-training", "with-block"),
        ("no-training", "end-of-the-script"),
        pytest.param("no-training", "teardown", marks=NIGHTLY),
        pytest.param("two-processes", "finish", marks=NIGHTLY),
    ],
)
def test_last_line_names_the_command_however_the_run_ends(run_job: RunJob, processes: str, end: str) -> None:
    check_last_word(run_job(SCENARIO, "train_and_end", processes, end, WANDB_SILENT="false"))


@NIGHTLY
def test_last_line_names_the_command_for_the_active_run_that_two_processes_log_to(run_job: RunJob) -> None:
    check_last_word(run_job(SCENARIO, "train_with_active_run", "two-processes", WANDB_SILENT="false"))


@pytest.mark.parametrize(
    ("words", "exit_code"),
    [
        (["train_and_end", "no-training", "exception"], 1),
        pytest.param(["be_terminated"], 128 + signal.SIGTERM, marks=NIGHTLY),
    ],
    ids=["exception", "sigterm"],
)
def test_last_line_names_the_command_where_the_script_fails(run_job: RunJob, words: list[str], exit_code: int) -> None:
    job = run_job(SCENARIO, *words, check=False, WANDB_SILENT="false")

    assert job.exit_code == exit_code
    check_last_word(job)


def test_command_names_one_part_which_leads_to_those_of_earlier_sessions(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "open_twice")
    first, second = sorted((job.directory / "wandb").glob("offline-run-*-mine"))

    assert [line.partition(" sync ")[2] for line in commands(job)] == [str(first), str(second)]
    assert [session.folder for session in find_sessions([second])] == [first, second]


def test_each_rank_names_the_command_for_a_run_of_its_own(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "train_with_a_run_for_each_rank", WANDB_SILENT="false")
    runs = {run.id: run for run in job.runs}

    assert {run_id: run.group for run_id, run in runs.items()} == {
        "mine": "",
        "mine-rank-0": "mine",
        "mine-rank-1": "mine",
    }
    assert {line.rpartition("/")[2] for line in commands(job)} == {run.path.parent.name for run in runs.values()}
    assert len(commands(job)) == len(runs)
    assert " run mine is on disk only" in job.output.splitlines()[-1]
    assert "made run mine-rank-0 of project demo; each other rank logs to one of its own in group mine" in job.output


def test_run_that_is_sent_or_disabled_names_no_command(run_job: RunJob, run_online: RunOnline) -> None:
    words = SCENARIO, "train_and_end", "no-training", "finish"
    online, _ = run_online(*words)

    assert commands(online) == []
    assert commands(run_job(*words, WANDB_MODE="disabled")) == []
