"""What the patched stock callback does in trainings, without any callback of ours; every training is a real one."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from releases import PATHS
from wandb_server import WandbServer

from conftest import Job, RunJob, epochs, run_command
from ultralytics_wb_ddp.testing import RecordedRun

STOCK = """\
from ultralytics import settings
settings.update(wandb=True)
settings.update(runs_dir=os.path.abspath("runs"))
for arguments in (ONE_PROCESS, TWO_PROCESSES):  # up to 8.3.31 the stock callback needs plots, and something on them
    arguments.update(conf=1e-6, plots=True)
"""


@pytest.fixture(scope="session")
def original_path(release: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """PYTHONPATH that leads to a release as it is."""
    folder = tmp_path_factory.mktemp("original")
    shutil.copytree(release / "ultralytics", folder / "ultralytics")
    return os.pathsep.join([str(folder), *PATHS])


@pytest.fixture(scope="session")
def patched_path(release: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """PYTHONPATH that leads to a release that the command has patched."""
    folder = tmp_path_factory.mktemp("patched")
    shutil.copytree(release / "ultralytics", folder / "ultralytics")
    path = os.pathsep.join([str(folder), *PATHS])
    done = run_command(folder, "patch", "apply", timeout=60, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    return path


def rows(history: list[dict[str, object]]) -> list[set[str]]:
    """The names in each row, without those of W&B's own."""
    return [{key for key in row if not key.startswith("_")} for row in history]


def assert_holds_the_training(history: list[dict[str, object]], *, epochs: int = 2) -> None:
    """All that stock logs of a training is there, and each epoch is one row."""
    trained = [row for row in history if "train/box_loss" in row]
    assert [row["epoch"] for row in trained] == list(range(1, epochs + 1))
    assert all({"lr/pg0", "val/box_loss", "metrics/mAP50(B)"} <= set(row) for row in trained)
    assert sum("model/parameters" in row for row in history) == 1
    assert sum("metrics/mAP50(B)" in row for row in history) == epochs + 1  # and the best checkpoint's


def test_open_run_is_attached_to_and_never_finished(run_job: RunJob, patched_path: str) -> None:
    job = run_job(
        STOCK
        + """\
with WandbManager(CFG, "job") as manager:
    manager.run.config.update({"epochs": "mine"})
    manager.run.log({"before": 1})
    manager.prepare_for_training()
    model.train(**TWO_PROCESSES)
    manager.run.log({"after": 1})
""",
        PYTHONPATH=patched_path,
    )
    run = job.run

    assert (run.state, run.exit_code) == ("finished", 0)
    assert_holds_the_training(run.history)
    assert rows(run.history)[0] == {"before"}
    assert rows(run.history)[-1] == {"after"}
    assert any("results" in row for row in rows(run.history))
    assert (run.config["epochs"], run.config["imgsz"]) == ("mine", 64)
    assert any(artifact.type == "model" for artifact in run.artifacts)


def test_closed_run_is_resumed_and_finished(run_job: RunJob, patched_path: str) -> None:
    with WandbServer() as server:
        server.backend.count_lag = 3
        run_job(
            "CFG['wandb']['mode'] = 'online'\n"
            + STOCK
            + """\
with WandbManager(CFG, "job") as manager:
    manager.run.log({"before": 1})
    manager.prepare_for_training()
    model.train(**TWO_PROCESSES)
    manager.resume_after_training()
    manager.run.log({"after": 1})
""",
            **server.environment,
            PYTHONPATH=patched_path,
        )
        (run,) = server.runs

    assert (run.state, run.exit_code) == ("finished", 0)
    assert_holds_the_training(run.history)
    assert rows(run.history)[0] == {"before"}
    assert rows(run.history)[-1] == {"after"}


def test_run_that_a_shell_names_is_resumed(run_job: RunJob, patched_path: str) -> None:
    train = STOCK + "model.train(**TWO_PROCESSES)\n"
    with WandbServer() as server:
        named = {**server.environment, "WANDB_RUN_ID": "mine", "WANDB_PROJECT": "shell", "PYTHONPATH": patched_path}
        run_job(train, **named)
        (once,) = server.runs
        assert_holds_the_training(once.history)
        before = rows(once.history)
        run_job(train, **named)
        (run,) = server.runs

    assert (run.state, run.exit_code) == ("finished", 0)
    assert rows(run.history) == [*before, *before]


def test_one_process_logs_to_the_run_of_the_script(run_job: RunJob, patched_path: str) -> None:
    job = run_job(
        STOCK
        + """\
with WandbManager(CFG, "job") as manager:
    for number in range(5):
        manager.run.log({"before": number})
    model.train(**ONE_PROCESS)
    manager.run.log({"after": 1})
""",
        PYTHONPATH=patched_path,
        check=False,
    )
    if "has no attribute 'trapz'" in job.output:
        pytest.skip("this release needs an older numpy")

    assert_holds_the_training(job.run.history)
    assert rows(job.run.history)[-1] == {"after"}
    assert (job.run.state, job.run.exit_code) == ("finished", 0)


def test_without_the_variables_it_is_the_stock_callback(run_job: RunJob, original_path: str, patched_path: str) -> None:
    train = STOCK + 'model.train(**{**TWO_PROCESSES, "project": "stock"})\n'

    def run(path: str, **env: str) -> RecordedRun:
        # Ultralytics 8.3.184 to 8.3.199 make a second, empty run in the launcher.
        return max(run_job(train, PYTHONPATH=path, **env).runs, key=lambda run: len(run.history))

    original, patched = run(original_path), run(patched_path, WANDB_PROJECT="half-named")

    assert rows(patched.history) == rows(original.history)
    assert [row["_step"] for row in patched.history] == [row["_step"] for row in original.history]
    assert (patched.state, patched.exit_code) == (original.state, original.exit_code)
    assert set(patched.config) == set(original.config)


FAILURE = """\
def fail(trainer):
    if trainer.epoch == 1 and os.environ.get("RANK") == "0":
        raise InterruptedError
model.add_callback("on_train_epoch_start", fail)
"""


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_failed_training_is_a_failed_run(run_job: RunJob, patched_path: str, mode: str) -> None:
    with WandbServer() as server:
        job = run_job(
            f"CFG['wandb']['mode'] = '{mode}'\n"
            + STOCK
            + FAILURE
            + """\
from ultralytics_wb_ddp.carry import carry_callbacks
carry_callbacks()
with WandbManager(CFG, "job") as manager:
    manager.prepare_for_training()
    model.train(**TWO_PROCESSES)
""",
            **server.environment,
            PYTHONPATH=patched_path,
            check=False,
        )
        (run,) = server.runs if mode == "online" else job.runs

    assert job.exit_code
    assert (run.state, run.exit_code) == ("failed", 1)
    assert [row["epoch"] for row in run.history if "train/box_loss" in row] == [1]


def wait_for(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_training_goes_on_when_the_launcher_is_gone(run_job: RunJob, patched_path: str) -> None:
    job = run_job(
        STOCK
        + """\
def kill_launcher(trainer):
    if trainer.epoch == 1 and os.environ.get("RANK") == "0":
        import psutil, signal
        os.kill(psutil.Process().parent().ppid(), signal.SIGKILL)
        import time
        time.sleep(3)
model.add_callback("on_train_epoch_start", kill_launcher)
def note(trainer):
    if os.environ.get("RANK") == "0":
        open("ended", "w").write(str(trainer.epoch))
model.add_callback("on_train_end", note)
from ultralytics_wb_ddp.carry import carry_callbacks
carry_callbacks()
sys.stdout.flush()
with WandbManager(CFG, "job") as manager:
    manager.prepare_for_training()
    model.train(**TWO_PROCESSES)
""",
        PYTHONPATH=patched_path,
        WANDB_CONSOLE="wrap",  # otherwise what the ranks print goes through the launcher
        check=False,
    )
    wait_for((job.directory / "ended").exists)

    assert (job.directory / "train/weights/best.pt").exists()
    assert job.run.exit_code == 1
    assert 1 in epochs(job)


def test_launcher_that_cannot_be_reached_leaves_a_run_on_disk(run_job: RunJob, patched_path: str) -> None:
    record = {"version": 1, "run_id": "lost", "state": "open", "host": "elsewhere", "mode": "online"}
    job: Job = run_job(
        STOCK + "model.train(**TWO_PROCESSES)\n",
        WANDB_RUN_ID="lost",
        WANDB_PROJECT="demo",
        ULTRALYTICS_WB_DDP=json.dumps(record),
        WANDB_MODE="online",
        PYTHONPATH=patched_path,
    )

    assert "W&B run lost is out of reach" in job.output
    assert "it is open on host elsewhere" in job.output
    assert job.run.id == "lost"
    assert_holds_the_training(job.run.history)
