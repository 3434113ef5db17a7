"""SIGTERM at the moments at which a run is opened or finished."""

from __future__ import annotations

from pathlib import Path

import pytest
from wandb_server import WandbServer
from wandb_server.faults import Request

from support.jobs import RunJob
from support.measures import epochs_of

TERMINATE = """
import signal, threading, time
def terminate():
    while not os.path.exists(os.environ["MARK"]):
        time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=terminate, daemon=True).start()
"""


def mark_of(server: WandbServer, place: Path) -> dict[str, str]:
    """Return an environment that names a file, which appears while the run is being opened."""
    mark = place / "opening"

    def begins(_: Request) -> bool:
        mark.touch()
        return True

    server.faults.add("UpsertBucket", delay=3, times=1, when=begins)
    return {**server.environment, "MARK": str(mark)}


def test_sigterm_while_the_run_is_being_opened_ends_it_as_preempted(run_job: RunJob, tmp_path: Path) -> None:
    with WandbServer() as server:
        script = """\
add_wandb_callback(model, project="demo", mode="online")
model.train(**{**ONE_PROCESS, "epochs": 300})
"""
        job = run_job(TERMINATE + script, check=False, **mark_of(server, tmp_path))

    (run,) = server.runs
    assert job.exit_code == 143
    assert (run.state, run.exit_code) == ("preempted", 143)


def test_sigterm_while_a_managers_run_is_being_opened_ends_it_as_preempted(run_job: RunJob, tmp_path: Path) -> None:
    with WandbServer() as server:
        script = """\
WandbManager({"wandb": {"project": "demo", "mode": "online"}}, "job").initialize()
time.sleep(60)
"""
        job = run_job(TERMINATE + script, check=False, **mark_of(server, tmp_path))

    (run,) = server.runs
    assert job.exit_code == 143
    assert (run.state, run.exit_code) == ("preempted", 143)


@pytest.mark.parametrize("delay", [0.0, 2.0])
def test_sigterm_while_the_run_is_being_finished_ends_it_once(run_job: RunJob, delay: float) -> None:
    with WandbServer() as server:
        server.faults.add("FileStream", delay=delay, when=lambda request: b'"complete"' in request.body)
        script = """\
import signal, threading, time
model.add_callback("on_train_end", lambda _: threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start())
add_wandb_callback(model, project="demo", mode="online")
model.train(**ONE_PROCESS)
time.sleep(60)
"""
        job = run_job(script, check=False, **server.environment)

    (run,) = server.runs
    assert job.exit_code == 143
    assert epochs_of(run) == [1, 2, 2, 2]
    assert (run.state, run.exit_code) in {("finished", 0), ("preempted", 143)}


def test_users_run_is_preempted_before_the_training_begins(run_job: RunJob) -> None:
    with WandbServer() as server:
        script = """\
import signal, time, wandb
run = wandb.init(project="demo", mode="online")
run.log({"before": 1})
add_wandb_callback(model, run=run)
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(60)
"""
        job = run_job(script, check=False, **server.environment)

    (run,) = server.runs
    assert job.exit_code == 143
    assert [row["before"] for row in run.history] == [1]
    assert (run.state, run.exit_code) == ("preempted", 143)


@pytest.mark.parametrize("event", ["on_train_batch_end", "on_train_epoch_end", "on_val_end", "on_model_save"])
def test_epochs_that_were_saved_when_sigterm_arrives_are_in_the_run_and_no_others_are(
    run_job: RunJob, event: str
) -> None:
    with WandbServer() as server:
        script = f"""\
import signal
def terminate(trainer_or_validator):
    if os.path.exists("train/results.csv") and getattr(trainer_or_validator, "epoch", 1) == 1:
        os.kill(os.getpid(), signal.SIGTERM)
add_wandb_callback(model, project="demo", mode="online")
model.add_callback("{event}", terminate)
model.train(**{{**ONE_PROCESS, "epochs": 200}})
"""
        job = run_job(script, check=False, **server.environment)

    (run,) = server.runs
    assert job.exit_code == 143
    assert (run.state, run.exit_code) == ("preempted", 143)
    saved = [float(line.split(",")[0]) for line in (job.directory / "train/results.csv").read_text().splitlines()[1:]]
    assert epochs_of(run) == saved
