"""A run of the user's own that is finished while an exception is on its way, as ``finally`` does, has failed."""

from __future__ import annotations

import pytest

from support.jobs import Job, RunJob

SCRIPT = """
import contextlib, wandb

@contextlib.contextmanager
def logged(name, **end):
    run = wandb.init(project="demo", id=name, reinit="create_new")
    assert wandb.run is not run
    add_wandb_callback(model, run=run)
    try:
        yield run
    finally:
        run.finish(**end)

def fails(name, error=Exception, **end):
    with contextlib.suppress(error), logged(name, **end):
        model.train(**{**TWO_PROCESSES, "data": "nowhere.yaml"})

other = wandb.init(project="demo", id="other")
fails("without-exit-code")
fails("with-exit-code-0", exit_code=0)
fails("with-its-own-exit-code", exit_code=7)

with contextlib.suppress(SystemExit), logged("exited", exit_code=0):
    raise SystemExit(3)

with logged("dealt-with", exit_code=0):
    with contextlib.suppress(Exception):
        model.train(**{**TWO_PROCESSES, "data": "nowhere.yaml"})

try:
    raise ValueError("an earlier one")
except ValueError:
    with logged("after-another-failure", exit_code=0):
        pass

wandb.finish()
"""


@pytest.fixture(scope="module")
def failing(run_job: RunJob) -> Job:
    return run_job(SCRIPT)


@pytest.mark.parametrize(
    ("run_id", "state", "exit_code"),
    [
        ("without-exit-code", "failed", 1),
        ("with-exit-code-0", "failed", 1),
        ("with-its-own-exit-code", "failed", 7),
        ("exited", "failed", 3),
        ("dealt-with", "finished", 0),
        ("after-another-failure", "finished", 0),
        ("other", "finished", 0),
    ],
)
def test_run_ends_as_the_training_that_it_was_given_to(failing: Job, run_id: str, state: str, exit_code: int) -> None:
    (run,) = (run for run in failing.runs if run.id == run_id)

    assert (run.state, run.exit_code) == (state, exit_code)
