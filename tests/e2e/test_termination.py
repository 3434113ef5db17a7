"""SIGTERM at the moments at which a run is opened or finished, or an epoch is saved."""

from __future__ import annotations

from pathlib import Path

import pytest
from wandb_server import WandbServer

from support.faults import mark_when_opening
from support.jobs import NIGHTLY, RunJob
from support.measures import epochs_of

SCENARIO = "termination.py"


@NIGHTLY
def test_sigterm_while_the_run_is_being_opened_ends_it_as_preempted(run_job: RunJob, tmp_path: Path) -> None:
    with WandbServer() as server:
        mark = mark_when_opening(server, tmp_path)
        job = run_job(SCENARIO, "be_terminated_while_opening", mark, check=False, **server.environment)

    (run,) = server.runs
    assert job.exit_code == 143
    assert (run.state, run.exit_code) == ("preempted", 143)


@NIGHTLY
@pytest.mark.parametrize("delay", [0.0, 2.0])
def test_sigterm_while_the_run_is_being_finished_ends_it_once(run_job: RunJob, delay: float) -> None:
    with WandbServer() as server:
        server.faults.add("FileStream", delay=delay, when=lambda request: b'"complete"' in request.body)
        job = run_job(SCENARIO, "be_terminated_while_finishing", check=False, **server.environment)

    (run,) = server.runs
    assert job.exit_code == 143
    assert epochs_of(run) == [1, 2, 2, 2]
    assert (run.state, run.exit_code) in {("finished", 0), ("preempted", 143)}


def test_worker_that_fails_shortly_before_its_sigterm_is_preempted(run_job: RunJob) -> None:
    with WandbServer() as server:
        job = run_job(SCENARIO, "fail_in_a_worker_and_be_terminated", check=False, **server.environment)

    (run,) = server.runs
    assert job.exit_code == 143
    assert (run.state, run.exit_code) == ("preempted", 143)


@pytest.mark.parametrize(
    ("usage", "rank", "moment"),
    [
        ("closed", "0", "import"),
        pytest.param("closed", "0", "event", marks=NIGHTLY),
        pytest.param("closed", "1", "import", marks=NIGHTLY),
        pytest.param("open", "0", "import", marks=NIGHTLY),
        pytest.param("open", "0", "event", marks=NIGHTLY),
        pytest.param("open", "1", "import", marks=NIGHTLY),
        pytest.param("users", "0", "event", marks=NIGHTLY),
        pytest.param("users", "1", "import", marks=NIGHTLY),
    ],
)
def test_sigterm_to_a_rank_before_it_has_the_run_ends_the_run_as_preempted(
    run_job: RunJob, usage: str, rank: str, moment: str
) -> None:
    with WandbServer() as server:
        arguments = ("be_terminated_in_a_rank_before_the_training", usage, rank, moment)
        job = run_job(SCENARIO, *arguments, check=False, **server.environment)

    (run,) = server.runs
    assert job.exit_code == 1, "what Ultralytics raises in the launcher"
    assert (run.state, run.exit_code) == ("preempted", 143)


@pytest.mark.parametrize(
    "event",
    [
        pytest.param("on_train_batch_end", marks=NIGHTLY),
        pytest.param("on_train_epoch_end", marks=NIGHTLY),
        pytest.param("on_val_end", marks=NIGHTLY),
        "on_model_save",
    ],
)
def test_epochs_that_were_saved_when_sigterm_arrives_are_in_the_run_and_no_others_are(
    run_job: RunJob, event: str
) -> None:
    with WandbServer() as server:
        job = run_job(SCENARIO, "be_terminated_at", event, check=False, **server.environment)

    (run,) = server.runs
    assert job.exit_code == 143
    assert (run.state, run.exit_code) == ("preempted", 143)
    saved = [float(line.split(",")[0]) for line in (job.directory / "train/results.csv").read_text().splitlines()[1:]]
    assert epochs_of(run) == saved
