"""The end of an offline run of the user's, in scripts without a training: the last line names the command."""

from __future__ import annotations

import pytest

from support.jobs import NIGHTLY, RunJob, RunOnline
from support.last_word import check_last_word, commands
from ultralytics_wb_ddp.runs.journal import find_sessions

SCENARIO = "offline_runs.py"


@NIGHTLY
@pytest.mark.parametrize("end", ["wandb.finish", "with-block", "end-of-the-script", "teardown"])
def test_last_line_names_the_command_however_the_run_ends(run_job: RunJob, end: str) -> None:
    check_last_word(run_job(SCENARIO, "train_and_end", "no-training", end, WANDB_SILENT="false"))


@NIGHTLY
def test_last_line_names_the_command_where_the_script_fails(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "train_and_end", "no-training", "exception", check=False, WANDB_SILENT="false")

    assert job.exit_code == 1
    check_last_word(job)


@NIGHTLY
def test_command_names_one_part_which_leads_to_those_of_earlier_sessions(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "open_twice")
    first, second = sorted((job.directory / "wandb").glob("offline-run-*-mine"))

    assert [line.partition(" sync ")[2] for line in commands(job)] == [str(first), str(second)]
    assert [session.folder for session in find_sessions([second])] == [first, second]


@NIGHTLY
def test_run_that_is_sent_or_disabled_names_no_command(run_job: RunJob, run_online: RunOnline) -> None:
    words = SCENARIO, "train_and_end", "no-training", "finish"
    online, _ = run_online(*words)

    assert commands(online) == []
    assert commands(run_job(*words, WANDB_MODE="disabled")) == []
