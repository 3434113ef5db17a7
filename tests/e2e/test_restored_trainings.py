"""A training that one machine has lost goes on on another, in the same run and with another number of processes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from wandb_server import WandbServer

from support.jobs import RunJob, run_command, wait_until_closed
from support.measures import assert_is_one_whole_run

SCENARIO = "restore.py"


@pytest.fixture(scope="module")
def lost(run_job: RunJob) -> Iterator[tuple[WandbServer, str]]:
    """A server with the run of a training that failed in its third epoch, and the path of the run."""
    with WandbServer() as server:
        run_job(SCENARIO, "lose_the_machine_in_epoch_3", check=False, **server.environment)
        wait_until_closed(server)
        (run,) = server.runs
        yield server, f"{run.entity}/{run.project}/{run.id}"


@pytest.fixture
def restored(lost: tuple[WandbServer, str], tmp_path: Path, shapes: Path) -> Path:
    """The directory in which the command has restored it."""
    server, path = lost
    moved = tmp_path / "moved.yaml"  # the dataset lies elsewhere on this machine
    moved.write_text(shapes.read_text())
    done = run_command(tmp_path, "resume", path, "--no-train", "--data", str(moved), timeout=120, **server.environment)
    assert done.returncode == 0, done.stderr
    checkpoint = Path(done.stdout.strip().splitlines()[-1])
    assert checkpoint == Path("runs", path.rpartition("/")[2], "weights", "last.pt")
    return tmp_path / checkpoint.parent.parent


def test_directory_is_that_of_a_training_which_knows_its_run(
    lost: tuple[WandbServer, str], restored: Path, tmp_path: Path
) -> None:
    checkpoint = torch.load(restored / "weights/last.pt", weights_only=False)

    assert {file.name for file in restored.iterdir()} >= {"args.yaml", "results.csv", "weights", "wandb_run.json"}
    assert "train" in (restored / "wandb_dataset.tsv").read_text(), "of what it was trained on"
    assert (restored / "weights/best.pt").exists()
    assert len((restored / "results.csv").read_text().splitlines()) == 3, "a header and two epochs"
    assert checkpoint["epoch"] + 1 == 2
    assert checkpoint["optimizer"]["state"]
    assert checkpoint["train_args"]["data"] == str(tmp_path / "moved.yaml")
    assert checkpoint["train_args"]["save_dir"] == str(restored)
    assert json.loads((restored / "wandb_run.json").read_text())["id"] == lost[1].rpartition("/")[2]


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("team/demo/unknown", [], "run 'team/demo/unknown' cannot be read"),
        (None, ["--alias", "epoch-9"], "has no checkpoint 'epoch-9' to go on from: there are "),
        (None, ["--data", "nowhere.yaml"], "dataset 'nowhere.yaml' is not on this machine; give its place with data="),
        (None, ["--dir", "/proc/nowhere"], "'/proc/nowhere' cannot be written: "),
        (None, ["--dir", "."], "exists already; resume the training that is there with"),
        (None, ["batch"], "'batch' is no KEY=VALUE, such as device=0,1"),
    ],
)
def test_checkpoint_that_cannot_be_restored_is_named_and_leaves_nothing(
    lost: tuple[WandbServer, str], tmp_path: Path, path: str | None, options: list[str], message: str
) -> None:
    server, known = lost
    done = run_command(tmp_path, "resume", path or known, *options, timeout=120, **server.environment)

    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert {file.name for file in tmp_path.iterdir()} == {"home", "yolo"}


def test_training_goes_on_in_the_same_run_with_another_number_of_processes(
    lost: tuple[WandbServer, str], run_job: RunJob
) -> None:
    server, path = lost
    job = run_job(SCENARIO, "go_on_in_two_processes", path, **server.environment)
    wait_until_closed(server)

    fault = "machine lost; restored on another one with two processes"
    assert_is_one_whole_run(fault, server, epochs=[1, 2, 3, 4, 4, 4], state="finished", exit_code=0)
    assert (job.directory / "here/weights/best.pt").exists()
    assert len((job.directory / "here/results.csv").read_text().splitlines()) == 5
