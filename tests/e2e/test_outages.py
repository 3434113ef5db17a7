"""Trouble with W&B never ends a training and never holds it up for long; what was logged is on disk and can be sent."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wandb_server import WandbServer

from support.jobs import NIGHTLY, Job, RunJob, scenario_environment
from support.measures import assert_is_one_whole_run, epochs_of, note
from support.paths import SCENARIOS
from ultralytics_wb_ddp.wandb_client.run_file import RecordedRun

Trouble = Callable[[WandbServer, dict[str, str]], None]
SCENARIO = "outages.py"
BOUND = "4"  # seconds that opening and closing the run may take
EPOCHS = [1, 2, 3, 3, 3]


def no_key(server: WandbServer, env: dict[str, str]) -> None:
    del server
    env["WANDB_API_KEY"] = ""


def wrong_key(server: WandbServer, env: dict[str, str]) -> None:
    del server
    env["WANDB_API_KEY"] = "f" * 40


def refused(server: WandbServer, env: dict[str, str]) -> None:
    del env
    server.down()


def errors(server: WandbServer, env: dict[str, str]) -> None:
    del env
    server.faults.add("*", status=500)


def hang(server: WandbServer, env: dict[str, str]) -> None:
    del env
    server.faults.add("*", hang=True)


def night(trouble: Trouble) -> Any:
    return pytest.param(trouble, marks=NIGHTLY)


def mend(server: WandbServer, env: dict[str, str]) -> None:
    """Undo all that these did."""
    server.down()
    server.up()
    server.faults.clear()
    env.update(server.environment)


@pytest.fixture
def train(run_job: RunJob) -> Callable[..., Job]:
    """Train beside a server; what it is told goes wrong at the start, or once the first epoch has arrived."""

    def run(server: WandbServer, env: dict[str, str], later: Callable[[], None] | None = None) -> Job:
        over = threading.Event()

        def watch() -> None:
            while later and not over.wait(0.05):
                if any(epochs_of(stored) for stored in server.runs):
                    later()
                    return

        threading.Thread(target=watch, daemon=True).start()
        job = run_job(SCENARIO, "train_for_3_epochs", BOUND, **{**server.environment, **env})
        over.set()
        return job

    return run


def send(job: Job, env: dict[str, str]) -> None:
    """Call the command that the message names."""
    *_, command = re.findall(r"ultralytics-wb-ddp sync [^;\n]*", job.output)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, **env, "PATH": path}
    subprocess.run(shlex.split(command), cwd=job.directory, env=environment, check=False, capture_output=True)


def written(job: Job) -> RecordedRun:
    """Return the part of the run that holds its rows."""
    (run,) = [run for run in job.runs if run.history]
    return run


def warnings_of(job: Job) -> list[str]:
    return [line for line in job.output.splitlines() if "ultralytics_wb_ddp: WARNING" in line]


@pytest.mark.parametrize("trouble", [night(no_key), night(wrong_key), night(refused), night(errors), hang])
def test_trouble_at_the_start_writes_the_run_to_disk(train: Callable[..., Job], trouble: Trouble) -> None:
    with WandbServer() as server:
        env: dict[str, str] = {}
        trouble(server, env)
        job = train(server, env)
        assert len(warnings_of(job)) == 1
        assert [row["epoch"] for row in written(job).history] == EPOCHS
        mend(server, env)
        send(job, env)

    assert_is_one_whole_run(
        f"at the start: {trouble.__name__.replace('_', ' ')}; then 'wandb sync'",
        server,
        epochs=EPOCHS,
        state="finished",
        exit_code=0,
    )


@NIGHTLY
@pytest.mark.parametrize("trouble", [wrong_key, refused, errors, hang])
def test_trouble_in_the_middle_leaves_every_row_on_disk(train: Callable[..., Job], trouble: Trouble) -> None:
    with WandbServer() as server:
        env: dict[str, str] = {}
        begin = server.api_keys.clear if trouble is wrong_key else lambda: trouble(server, env)
        job = train(server, env, later=begin)

    run = written(job)
    lost = len(EPOCHS) - len(run.history)
    note(
        [
            f"in the middle: {trouble.__name__.replace('_', ' ')}",
            len(server.runs),
            1,
            len(server.requests),
            lost,
            f"{run.state}, on disk",
        ]
    )
    assert [row["epoch"] for row in run.history] == EPOCHS
    assert (run.state, run.exit_code) == ("finished", 0)
    assert len(warnings_of(job)) == 1


@NIGHTLY
def test_outage_in_the_middle_that_ends_loses_nothing(train: Callable[..., Job]) -> None:
    with WandbServer() as server:

        def fail_for_a_while() -> None:
            server.down()
            time.sleep(2)
            server.up()

        job = train(server, {}, later=fail_for_a_while)
        assert warnings_of(job) == []

    assert_is_one_whole_run("in the middle: away for 2 s", server, epochs=EPOCHS, state="finished", exit_code=0)


@NIGHTLY
def test_lost_replies_lose_and_double_nothing(train: Callable[..., Job]) -> None:
    with WandbServer() as server:
        server.faults.add("FileStream", lose_reply=True, times=2)
        train(server, {})

    assert_is_one_whole_run("lost replies", server, epochs=EPOCHS, state="finished", exit_code=0)


@NIGHTLY
@pytest.mark.skipif(shutil.which("unshare") is None, reason="a small disk takes a mount namespace")
def test_full_disk_never_ends_a_training(tmp_path: Path, shapes: Path) -> None:
    small = "mount -t tmpfs -o size=48k tmpfs small && head -c 40k /dev/zero > small/full"
    process = run_on_small_disk(tmp_path, shapes, small, "train_for_3_epochs", BOUND)

    assert process.returncode == 0, process.stderr[-3000:]
    assert "3 epochs completed" in process.stdout + process.stderr


def run_on_small_disk(tmp_path: Path, shapes: Path, mount: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a script that writes W&B's files to a small disk.

    Args:
        tmp_path: Directory of the script.
        shapes: The dataset.
        mount: Command that mounts the disk on the folder "small".
        words: Function of the script, and its arguments.
    """
    for folder in ("home", "yolo", "small"):
        (tmp_path / folder).mkdir()
    command = shlex.join([sys.executable, str(SCENARIOS / SCENARIO), *words])
    process = subprocess.run(
        ["unshare", "-rm", "sh", "-c", f"{mount} && exec {command}"],
        cwd=tmp_path,
        env=scenario_environment(tmp_path, shapes, {"WANDB_DIR": "small"}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    if "unshare" in process.stderr or "mount" in process.stderr:
        pytest.skip("no mount namespaces here")
    return process


@NIGHTLY
@pytest.mark.skipif(shutil.which("unshare") is None, reason="a small disk takes a mount namespace")
@pytest.mark.parametrize(
    ("function", "of_the_manager"),
    [
        ("train_until_the_disk_is_full", []),
        ("train_with_manager_until_the_disk_is_full", [0, 1]),
    ],
)
def test_offline_run_whose_disk_becomes_full_goes_on_on_another_disk(
    tmp_path: Path, shapes: Path, function: str, of_the_manager: list[int]
) -> None:
    process = run_on_small_disk(tmp_path, shapes, "mount -t tmpfs -o size=2m tmpfs small", function)

    assert process.returncode == 0, process.stderr[-3000:]
    (warning,) = re.findall(r"WARNING: (?:\[RANK 0\] )?W&B cannot write to (.*?),", process.stderr)
    assert warning.startswith("small/wandb/offline-run-")
    logged = process.stdout.split("EPOCHS ")[1].splitlines()[0]
    assert logged == f"[1, 2, 3, 4, 4] {of_the_manager}"


@NIGHTLY
def test_wandb_core_that_dies_early_ends_nothing_and_no_row_is_lost(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "train_without_wandb_core")

    assert [row["epoch"] for row in written(job).history] == [1, 2, 2, 2]
    assert "wandb-core is gone" in job.output


@NIGHTLY
def test_ranks_that_share_a_run_write_to_disk_each_where_wandb_is_away(run_job: RunJob) -> None:
    job = run_job(
        SCENARIO,
        "share_a_run",
        WANDB_MODE="online",
        WANDB_BASE_URL="http://127.0.0.1:9",  # where nothing listens
        WANDB_API_KEY="0123456789abcdef0123456789abcdef01234567",
    )

    kept = {run.path.parent: run for run in job.runs if run.history}
    assert len({run.id for run in kept.values()}) == 1
    keys = [{key for row in run.history for key in row} for run in kept.values()]
    assert sorted("ranks/1/train/box_loss" in found for found in keys) == [False, True]
    assert {run.state for run in kept.values()} == {"finished"}
    assert all(f"ultralytics-wb-ddp sync {folder}" in job.output for folder in kept)
