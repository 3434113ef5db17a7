"""Trouble with W&B never ends a training and never holds it up for long; what was logged is on disk and can be sent."""

from __future__ import annotations

import os
import pty
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

from support.jobs import NIGHTLY, PRELUDE, Job, RunJob, job_environment
from support.measures import assert_is_one_whole_run, epochs_of, note
from ultralytics_wb_ddp.wandb_client.run_file import RecordedRun

Trouble = Callable[[WandbServer, dict[str, str]], None]
BOUND = 4.0  # seconds that opening and closing the run may take
EPOCHS = [1, 2, 3, 3, 3]
TRAINING = f"""
import time
os.environ["WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL"] = "1"
add_wandb_callback(model, project="demo", init_timeout={BOUND}, finish_timeout={BOUND})
def wait_for_the_server(trainer):  # until the rows of before have arrived: the trouble begins with them
    if trainer.epoch == 1:
        time.sleep(3)
model.add_callback("on_train_epoch_start", wait_for_the_server)
model.train(**{{**ONE_PROCESS, "epochs": 3}})
"""


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
        job = run_job(TRAINING, **{**server.environment, **env})
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


@pytest.mark.parametrize("trouble", [no_key, night(wrong_key), night(refused), night(errors), hang])
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


@pytest.mark.parametrize("trouble", [night(wrong_key), night(refused), night(errors), hang])
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


def test_outage_in_the_middle_that_ends_loses_nothing(train: Callable[..., Job]) -> None:
    with WandbServer() as server:

        def fail_for_a_while() -> None:
            server.down()
            time.sleep(2)
            server.up()

        job = train(server, {}, later=fail_for_a_while)
        assert warnings_of(job) == []

    assert_is_one_whole_run("in the middle: away for 2 s", server, epochs=EPOCHS, state="finished", exit_code=0)


def test_lost_replies_lose_and_double_nothing(train: Callable[..., Job]) -> None:
    with WandbServer() as server:
        server.faults.add("FileStream", lose_reply=True, times=2)
        train(server, {})

    assert_is_one_whole_run("lost replies", server, epochs=EPOCHS, state="finished", exit_code=0)


@pytest.mark.skipif(shutil.which("unshare") is None, reason="a small disk takes a mount namespace")
def test_full_disk_never_ends_a_training(tmp_path: Path, shapes: Path) -> None:
    small = "mount -t tmpfs -o size=48k tmpfs small && head -c 40k /dev/zero > small/full"
    process = run_on_small_disk(tmp_path, shapes, PRELUDE + TRAINING, small)

    assert process.returncode == 0, process.stderr[-3000:]
    assert "3 epochs completed" in process.stdout + process.stderr


def run_on_small_disk(tmp_path: Path, shapes: Path, script: str, mount: str) -> subprocess.CompletedProcess[str]:
    """Run a script that writes W&B's files to a small disk.

    Args:
        tmp_path: Directory of the script.
        shapes: The dataset.
        script: The script.
        mount: Command that mounts the disk on the folder "small".
    """
    for folder in ("home", "yolo", "small"):
        (tmp_path / folder).mkdir()
    (tmp_path / "job.py").write_text(script)
    process = subprocess.run(
        ["unshare", "-rm", "sh", "-c", f"{mount} && exec {sys.executable} job.py"],
        cwd=tmp_path,
        env={**job_environment(tmp_path, shapes), "WANDB_DIR": "small"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    if "unshare" in process.stderr or "mount" in process.stderr:
        pytest.skip("no mount namespaces here")
    return process


FILLED = """\
from pathlib import Path
from ultralytics_wb_ddp.runs.journal import find_sessions
from ultralytics_wb_ddp.wandb_client.run_file import read_run

def fill(trainer):
    if trainer.epoch == 1 and os.environ.get("RANK", "0") == "0":
        with open("small/filler", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass

def report(*paths):
    rows = [row for session in find_sessions(paths) for row in read_run(session.folder).history]
    print("EPOCHS", [row["epoch"] for row in rows if "metrics/mAP50(B)" in row], [row["x"] for row in rows if "x" in row])

model.add_callback("on_train_epoch_start", fill)
"""
OF_THE_TRAINING = """\
add_wandb_callback(model, project="demo")
model.train(**{**ONE_PROCESS, "epochs": 4})
report(Path("train"))
"""
OF_A_MANAGER = """\
with WandbManager({"wandb": {"project": "demo", "mode": "offline", "keep_open": True}}, "job") as manager:
    manager.run.log({"x": 0})
    add_wandb_callback(model)
    manager.prepare_for_training()
    model.train(**{**TWO_PROCESSES, "epochs": 4})
    run = manager.resume_after_training()
    run.log({"x": 1})
report(Path("train"), Path(run.dir).parent)
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="a small disk takes a mount namespace")
@pytest.mark.parametrize("usage", [OF_THE_TRAINING, OF_A_MANAGER], ids=["training", "manager"])
def test_offline_run_whose_disk_becomes_full_goes_on_on_another_disk(tmp_path: Path, shapes: Path, usage: str) -> None:
    process = run_on_small_disk(tmp_path, shapes, PRELUDE + FILLED + usage, "mount -t tmpfs -o size=2m tmpfs small")

    assert process.returncode == 0, process.stderr[-3000:]
    (warning,) = re.findall(r"WARNING: (?:\[RANK 0\] )?W&B cannot write to (.*?),", process.stderr)
    assert warning.startswith("small/wandb/offline-run-")
    logged = process.stdout.split("EPOCHS ")[1].splitlines()[0]
    assert logged == f"[1, 2, 3, 4, 4] {[] if usage is OF_THE_TRAINING else [0, 1]}"


def test_wandb_core_that_dies_early_ends_nothing_and_no_row_is_lost(run_job: RunJob) -> None:
    job = run_job("""\
def kill_wandb_core(trainer):  # before Ultralytics imports the rest of what it needs, of which W&B takes notice
    import psutil
    from ultralytics_wb_ddp.runs.open_runs import registry
    for held in registry.opened.values():
        for process in psutil.Process(held.service_process.pid).children():
            assert process.name() == "wandb-core"
            process.kill()
add_wandb_callback(model, project="demo")
model.add_callback("on_pretrain_routine_end", kill_wandb_core)
model.train(**ONE_PROCESS)
""")

    assert [row["epoch"] for row in written(job).history] == [1, 2, 2, 2]
    assert "wandb-core is gone" in job.output


def test_command_for_a_wandb_core_that_dies_sends_what_it_had_not_sent(run_job: RunJob) -> None:
    with WandbServer() as server:
        job = run_job(
            """\
import time, psutil
from pathlib import Path
from ultralytics_wb_ddp.config.options import RunOptions
from ultralytics_wb_ddp.distributed.topology import RankPlan
from ultralytics_wb_ddp.runs.resolution import RunResolution, open_run
from ultralytics_wb_ddp.runs.open_runs import registry
session = open_run(RunResolution("new", RunOptions(project="demo"), base_id="abc", plan=RankPlan("abc")))
session.start(Path("train"))
session.log({"epoch": 1}, is_best=False)
time.sleep(2)  # it is on disk within a second, and sent every 15
(held,) = registry.opened.values()
for process in psutil.Process(held.service_process.pid).children():
    process.kill()
time.sleep(1)
session.log({"epoch": 2}, is_best=False)
session.close(0)
""",
            **server.environment,
        )
        (command,) = set(re.findall(r"with: (ultralytics-wb-ddp sync .*)", job.output))
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        subprocess.run(
            shlex.split(command), cwd=job.directory, env={**os.environ, **server.environment, "PATH": path}, check=True
        )

    assert_is_one_whole_run(
        "wandb-core killed; then the command that the message names",
        server,
        epochs=[1, 2],
        state="finished",
        exit_code=0,
    )


def test_nobody_is_asked_for_a_key_in_a_terminal(tmp_path: Path, shapes: Path) -> None:
    for folder in ("home", "yolo"):
        (tmp_path / folder).mkdir()
    job = "from ultralytics_wb_ddp import WandbManager\nWandbManager({'wandb': {'project': 'demo'}}, 'job').initialize()\n"
    (tmp_path / "job.py").write_text(job)
    ours, theirs = pty.openpty()
    environment = {**job_environment(tmp_path, shapes), "WANDB_MODE": "online", "WANDB_SILENT": "false"}
    process = subprocess.Popen(
        [sys.executable, "job.py"], cwd=tmp_path, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    output = b""
    try:
        while chunk := os.read(ours, 65536):
            output += chunk
    except OSError:  # the terminal's other end is closed
        pass

    assert process.wait(timeout=60) == 0, output.decode()
    assert b"Enter your choice" not in output
    assert b"is written to disk, send it with: ultralytics-wb-ddp sync" in output


@NIGHTLY
def test_ranks_that_share_a_run_write_to_disk_each_where_wandb_is_away(run_job: RunJob) -> None:
    job = run_job(
        """\
add_wandb_callback(model, project="demo", run_mode="shared", init_timeout=2)
model.train(**{**TWO_PROCESSES, "epochs": 1})
""",
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
