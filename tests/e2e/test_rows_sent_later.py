"""Unsent rows of a session are sent by the next session, or by the command that the training names."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
from wandb_server import WandbServer

from support.jobs import NIGHTLY, Job, RunJob, run_command, run_in, scenario_environment
from support.measures import epochs_of
from support.paths import SCENARIOS

SCENARIO = "rows_sent_later.py"


@pytest.mark.parametrize("processes", ["1", pytest.param("2", marks=NIGHTLY)])
def test_resumed_training_first_sends_the_unsent_rows_of_the_killed_session(run_job: RunJob, processes: str) -> None:
    with WandbServer() as server:
        stalled = server.faults.add("FileStream", status=503)
        job = run_job(SCENARIO, "train_until_killed", processes, check=False, **server.environment)
        assert server.runs[0].history == [], "nothing has been sent"
        stalled.remove()

        environment = scenario_environment(job.directory, job.directory, server.environment)
        command = [sys.executable, str(SCENARIOS / SCENARIO), "resume", processes]
        resumed = run_in(job.directory, command, environment)

    (run,) = server.runs
    assert epochs_of(run) == [1, 2, 3, 3, 3]
    assert run.destroyed_rows == []
    assert (run.state, run.exit_code) == ("finished", 0)
    assert "W&B has not got" not in resumed.output


def commands_in(output: str) -> list[str]:
    return list(dict.fromkeys(re.findall(r"with: (ultralytics-wb-ddp sync .*)", output)))


def call(command: str, job: Job, server: WandbServer) -> None:
    done = run_command(job.directory, *shlex.split(command)[1:], timeout=200, **server.environment)
    assert done.returncode == 0, done.stderr


@NIGHTLY
@pytest.mark.parametrize("moment", ["on_train_start", "on_train_epoch_end"])
def test_artifacts_that_have_not_arrived_are_sent_by_the_command(run_job: RunJob, tmp_path: Path, moment: str) -> None:
    mark = tmp_path / "down"
    with WandbServer() as server:
        server.faults.add("*", status=503, when=lambda _: mark.exists())
        job = run_job(SCENARIO, "train_while_the_server_goes_down", moment, str(mark), **server.environment)
        (command,) = commands_in(job.output)
        server.faults.clear()
        call(command, job, server)
        call(command, job, server)

    (run,) = server.runs
    assert epochs_of(run) == [1, 2, 2, 2]
    assert (run.state, run.exit_code) == ("finished", 0)
    assert {artifact.type for artifact in run.artifacts} >= {"model", "run_table"}
    assert {artifact.type for artifact in run.used_artifacts} >= {"config", "dataset"}
    assert all(artifact.state == "COMMITTED" for artifact in [*run.artifacts, *run.used_artifacts])
    assert len({artifact.name for artifact in run.artifacts}) == len(run.artifacts), "none is there twice"


@NIGHTLY
def test_training_that_wandb_refused_is_sent_before_its_manager_continues_the_run(
    run_job: RunJob, tmp_path: Path
) -> None:
    with WandbServer() as server:
        server.backend.store.count_lag = 3.0
        server.faults.add("*", status=503, when=lambda _: [file.name for file in tmp_path.iterdir()] == ["begins"])
        job = run_job(SCENARIO, "train_while_the_server_refuses", str(tmp_path), **server.environment)

    (run,) = server.runs
    assert "is written to disk, send it with: ultralytics-wb-ddp sync" in job.output
    assert epochs_of(run) == [1, 2, 2, 2], job.output
    assert [key for row in run.history for key in ("before", "after") if key in row] == ["before", "after"]
    assert (run.state, run.exit_code, run.destroyed_rows) == ("finished", 0, [])
    assert run.config["epochs"]["value"] == 2


@NIGHTLY
@pytest.mark.parametrize("event", ["on_pretrain_routine_end", "on_fit_epoch_end"])
def test_run_whose_service_process_is_killed_during_the_training_is_continued_after_it(
    run_job: RunJob, event: str
) -> None:
    with WandbServer() as server:
        job = run_job(SCENARIO, "train_without_the_service_process", event, **server.environment)
        for command in commands_in(job.output):
            call(command, job, server)

    (run,) = server.runs
    assert sorted(epochs_of(run)) == [1, 2, 2, 2], job.output
    assert [key for row in run.history for key in ("before", "after") if key in row] == ["before", "after"]
    assert (run.state, run.exit_code, run.destroyed_rows) == ("finished", 0, [])
    assert run.config["epochs"]["value"] == 2


@NIGHTLY
def test_row_of_a_wandb_core_that_is_killed_at_once_is_logged_again(run_job: RunJob) -> None:
    with WandbServer() as server:
        job = run_job(SCENARIO, "train_without_wandb_core", **server.environment)
        for command in commands_in(job.output):
            call(command, job, server)

    (run,) = server.runs
    assert epochs_of(run) == [1, 2, 2, 2], job.output
    assert (run.state, run.exit_code) == ("finished", 0)
