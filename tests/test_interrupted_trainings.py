"""Trainings that are stopped, orphaned or restarted continue one run; real launches, a real client."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from test_true_state import CLOSED, KILL, NAMES, OPEN, OWN, USERS, in_epoch_2
from wandb_server import WandbServer

from support.jobs import INTERRUPTED, NIGHTLY, ONLINE, Job, RunJob, RunOnline, wait_until_closed
from support.measures import assert_is_one_whole_run, epochs_of
from ultralytics_wb_ddp.wandb_client.run_file import read_run

# The Stop button

RunStopped = Callable[..., tuple[Job, WandbServer]]


@pytest.fixture
def run_stopped(run_job: RunJob) -> RunStopped:
    """Run a long training and press Stop once the first epoch of a run, whose id ends in a way, has arrived."""

    def run(script: str, run_id_ends: str = "") -> tuple[Job, WandbServer]:
        with WandbServer() as server:
            over = threading.Event()

            def press() -> None:
                while not over.wait(0.1):
                    for stored in server.runs:
                        if stored.id.endswith(run_id_ends) and epochs_of(stored):
                            server.stop(stored.id)
                            return

            threading.Thread(target=press, daemon=True).start()
            script = script.replace("**TWO_PROCESSES", "**{**TWO_PROCESSES, 'epochs': 60}")
            script = script.replace("**ONE_PROCESS", "**{**ONE_PROCESS, 'epochs': 60}")
            job = run_job(ONLINE + SENDS_OFTEN + script, **server.environment)
            over.set()
        return job, server

    return run


# The client tells the server what is new, and hears of the button, every 15 s; here, every second.
SENDS_OFTEN = """
os.environ["WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL"] = "1"
"""


@pytest.mark.parametrize(
    "usage",
    [
        pytest.param(OPEN, id="open"),
        pytest.param(CLOSED, id="closed", marks=NIGHTLY),
        pytest.param(OWN, id="own", marks=NIGHTLY),
        pytest.param(USERS, id="users", marks=NIGHTLY),
    ],
)
def test_stop_button_ends_the_training_gracefully(
    run_stopped: RunStopped, usage: str, request: pytest.FixtureRequest
) -> None:
    job, server = run_stopped(usage)
    last = max(epochs_of(server.runs[0]))

    assert 1 < last < 60
    assert (job.directory / "train/weights/last.pt").exists()
    best_checkpoint_and_end = [last, last]
    complete = [*range(1, last + 1), *best_checkpoint_and_end]
    assert_is_one_whole_run(
        f"Stop, {NAMES[request.node.callspec.id]}", server, epochs=complete, state="finished", exit_code=0
    )


@NIGHTLY
def test_stop_button_ends_a_training_in_one_process_gracefully(run_stopped: RunStopped) -> None:
    _, server = run_stopped(USERS.replace("TWO_PROCESSES", "ONE_PROCESS"))
    last = max(epochs_of(server.runs[0]))

    assert last < 60
    complete = [*range(1, last + 1), last, last]
    assert_is_one_whole_run("Stop, one process", server, epochs=complete, state="finished", exit_code=0)


@NIGHTLY
def test_stop_button_of_another_ranks_run_ends_the_training_gracefully(run_stopped: RunStopped) -> None:
    job, server = run_stopped(OWN.replace("project=", "run_mode='new', project="), "-rank-1")

    assert (job.directory / "train/weights/last.pt").exists()
    assert [(run.state, max(epochs_of(run)) < 60) for run in server.runs] == [("finished", True)] * 2


# A launcher that is gone

KILL_LAUNCHER = "os.environ['LAUNCHER'] = str(os.getpid())\n" + in_epoch_2(
    1, "time.sleep(2)", "os.kill(int(os.environ['LAUNCHER']), signal.SIGKILL)", "time.sleep(1)"
)


@pytest.mark.parametrize(
    ("sends", "usage"),
    [
        pytest.param("", OPEN, id="late-open", marks=NIGHTLY),
        pytest.param("", USERS, id="late-users", marks=NIGHTLY),
        pytest.param(SENDS_OFTEN, OPEN, id="often-open", marks=NIGHTLY),
        pytest.param(SENDS_OFTEN, USERS, id="often-users", marks=NIGHTLY),
    ],
)
def test_orphans_train_on_and_keep_what_they_log(
    run_job: RunJob, sends: str, usage: str, request: pytest.FixtureRequest
) -> None:
    with WandbServer() as server:
        job = run_job(ONLINE + sends + KILL_LAUNCHER + usage, check=False, **server.environment)
        wait_for_fragment(job)
        if usage == OPEN:
            wait_until_closed(server)
        (command,) = re.findall(
            r"is gone: the training goes on; .* with: ((?:wandb|ultralytics-wb-ddp) sync .*)", said_by(job)
        )
        subprocess.run(
            command,
            shell=True,
            cwd=job.directory,
            env={**os.environ, **server.environment, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            check=False,  # it complains of the launcher's last record, which the kill has cut
            capture_output=True,
        )

    sends_id, usage_id = request.node.callspec.id.split("-")
    name = f"launcher killed, {NAMES[usage_id]}, sends {sends_id}; then the command that the message names"
    assert_is_one_whole_run(name, server, epochs=[1, 2, 2, 2], state="finished", exit_code=0)


@NIGHTLY
def test_orphans_stop_if_that_is_wanted(run_job: RunJob) -> None:
    usage = OPEN.replace("add_wandb_callback(model)", "add_wandb_callback(model, on_launcher_lost='stop')")
    with WandbServer() as server:
        script = ONLINE + KILL_LAUNCHER + usage.replace("**TWO_PROCESSES", "**{**TWO_PROCESSES, 'epochs': 60}")
        job = run_job(script, check=False, **server.environment)
        fragment = wait_for_fragment(job)

    assert said_by(job).count("is gone: the training stops at the end of this epoch") == 1
    assert [row["epoch"] for row in read_run(fragment).history] == [2, 2, 2]


def said_by(job: Job) -> str:
    """Return what the job has printed; where the launcher reads the workers' output, they go on to a file."""
    file = job.directory / "train/output.log"
    return job.output + (file.read_text() if file.exists() else "")


def wait_for_fragment(job: Job) -> Path:
    """Return the run file that rank 0 writes after the launcher's end, once it is complete."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        files = sorted((job.directory / "train").rglob("offline-run-*/run-*.wandb"))
        if files and read_run(files[0]).exit_code is not None:
            return files[0]
        time.sleep(0.2)
    raise AssertionError(job.output)


# Restarts

RESUME = """
model = YOLO("train/weights/last.pt")
add_wandb_callback(model, project="demo")
"""


@pytest.mark.parametrize("count_lag", [pytest.param(0.0, id="prompt", marks=NIGHTLY), pytest.param(3.0, id="lagging")])
def test_restarted_training_continues_its_run_any_number_of_times(run_job: RunJob, count_lag: float) -> None:
    """Killed whole in the second epoch, resumed on one process and killed again, resumed on two."""
    first = "add_wandb_callback(model, project='demo')\nmodel.train(**{**TWO_PROCESSES, 'epochs': 4})\n"
    kill_all = "os.killpg(0, signal.SIGKILL)"
    die_in_epoch_3 = in_epoch_2(0, KILL).replace("trainer.epoch == 1", "trainer.epoch == 2")
    with WandbServer() as server:
        server.backend.count_lag = count_lag
        job = run_job(
            ONLINE + "os.setpgid(0, 0)\n" + in_epoch_2(0, kill_all) + first, check=False, **server.environment
        )
        wait_until_closed(server)
        one = f"os.chdir({str(job.directory)!r})\n{RESUME}\n{die_in_epoch_3}"
        run_job(ONLINE + one + "model.train(resume=True, device='cpu')", check=False, **server.environment)
        wait_until_closed(server)
        two = f"os.chdir({str(job.directory)!r})\n{RESUME}\n"
        run_job(ONLINE + two + "model.train(resume=True, device='0,1', trainer=CpuDDPTrainer)", **server.environment)

    fault = f"killed whole, resumed, killed, resumed; counts {count_lag:g} s late"
    run = assert_is_one_whole_run(fault, server, epochs=[1, 2, 3, 4, 4, 4], state="finished", exit_code=0)
    best = max(row["metrics/mAP50-95(B)"] for row in run.history if "metrics/mAP50-95(B)" in row)
    assert run.summary["metrics/mAP50-95(B)"] == {"max": best}
    losses = [row["val/box_loss"] for row in run.history if "val/box_loss" in row]
    assert run.summary["val/box_loss"] == {"min": min(losses)}
    assert 1 <= run.summary["best/epoch"] <= 4
    by_epoch = {f"{prefix}/*": "epoch" for prefix in ("train", "lr", "metrics", "val", "ranks")}
    assert run.metrics == {**by_epoch, "batch/*": "batch"}


@NIGHTLY
def test_run_that_is_given_wins_over_the_one_of_the_training(run_online: RunOnline) -> None:
    offline = "os.environ['WANDB_MODE'] = 'offline'\nadd_wandb_callback(model, project='demo')\n"
    given = """
import wandb
os.environ["WANDB_MODE"] = "online"
model = YOLO("train/weights/last.pt")
with wandb.init(project="demo", id="given") as run:
    add_wandb_callback(model, run=run)
    model.train(resume=True)
"""
    job, server = run_online(offline + INTERRUPTED + given)

    assert [run.id for run in server.runs] == ["given"]
    assert epochs_of(server.runs[0]) == [2, 2, 2]
    assert json.loads((job.directory / "train/wandb_run.json").read_text())["id"] == "given"
