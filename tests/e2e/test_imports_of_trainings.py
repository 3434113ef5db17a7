"""Trainings that were not logged become runs, once each: ``ultralytics-wb-ddp import``."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path

import pytest
from wandb_server import WandbServer
from wandb_server.store import StoredRun

from support.jobs import NIGHTLY, Job, RunOnline
from support.past_trainings import OLD_RESULTS, import_command, write_training
from ultralytics_wb_ddp.runs.run_record import RECORD_FILE, RunRecord

CLASSIFY = """\
epoch,time,train/loss,metrics/accuracy_top1,metrics/accuracy_top5,val/loss,lr/pg0
1,10,0.5,0.25,1,nan,0.01
2,20,inf,0.5,1,0.7,0.02
3,30,0.3,0.
"""
TWICE = "epoch,time,train/box_loss\n1,9,7\n2,18,6\n3,27,5\n1,10,4\n2,20,3\n"
YOLOV5 = """\
               epoch,      train/box_loss,       metrics/mAP_0.5,               x/lr0
                   0,              1.2345,                   0.1,                0.01
                   1,              1.1111,                   0.2,                0.02
"""
END = 1_700_000_000.0  # when the old training was over, in seconds since 1970


def copy_of(training: Path, place: Path) -> Path:
    """Copy a training's directory without W&B's files."""
    shutil.copytree(training, place, ignore=shutil.ignore_patterns("wandb", "wandb_*"))
    return place


class Backfill:
    """A tree of trainings that was imported, and the lines that the command printed."""

    def __init__(self, server: WandbServer, root: Path, logged: Job) -> None:
        self.server, self.root, self.logged = server, root, logged
        self.runs_dir = root / "runs"
        copy_of(logged.directory / "train", self.runs_dir / "detect/train")
        old = write_training(self.runs_dir / "old", OLD_RESULTS)
        (old / "labels.jpg").write_text("no picture")
        os.utime(old / "results.csv", (END, END))
        write_training(self.runs_dir / "classify/a b", CLASSIFY, name="a b", epochs=100, project="p/q")
        write_training(self.runs_dir / "damaged", "epoc,loss\n1,2\n")
        write_training(self.runs_dir / "before", "", epochs=3)
        (write_training(self.runs_dir / "begun", "", epochs=3) / "results.csv").unlink()
        write_training(self.runs_dir / "twice", TWICE, epochs=2)
        foreign = write_training(self.runs_dir / "exp2", YOLOV5)
        (foreign / "opt.yaml").write_text("epochs: 2\nname: exp\nproject: runs/train\nsave_dir: runs/train/exp2\n")
        (foreign / "hyp.yaml").write_bytes(b"lr0: 0.01\nnote: caf\xe9\n")
        (write_training(self.runs_dir / "yolov7", "") / "results.csv").rename(self.runs_dir / "yolov7/results.txt")
        (self.runs_dir / "yolov7/opt.yaml").write_text("epochs: 2\n")
        (write_training(self.runs_dir / "folder", "") / "results.csv").unlink()
        (self.runs_dir / "folder/results.csv").mkdir()
        RunRecord("abc").save(write_training(self.runs_dir / "live", OLD_RESULTS), exit_code=0)
        (write_training(self.runs_dir / "stock", OLD_RESULTS) / "wandb/run-20260101_120000-xyz").mkdir(parents=True)
        (self.runs_dir / "stock/wandb/run-20260101_120000-xyz/run-xyz.wandb").write_bytes(b"")
        self.dry = import_command(server, root, "runs/**", "--dry-run")
        self.runs_after_dry_run = len(server.runs)
        self.done = import_command(
            server, root, "runs/**", "nowhere", "--checkpoints", "best+last", "--group", "old ones"
        )

    def run(self, name: str) -> StoredRun:
        (run,) = [run for run in self.server.runs if run.fields["displayName"] == name]
        return run

    def line(self, directory: str) -> str:
        (line,) = [line for line in self.done.stdout.splitlines() if line.startswith(f"{directory}: ")]
        return line


@pytest.fixture(scope="module")
def backfill(usage_c: Job, tmp_path_factory: pytest.TempPathFactory) -> Backfill:
    with WandbServer() as server:
        return Backfill(server, tmp_path_factory.mktemp("backfill"), usage_c)


def test_dry_run_makes_nothing(backfill: Backfill) -> None:
    assert backfill.runs_after_dry_run == 0
    assert backfill.dry.returncode == 1
    assert "runs/detect/train: would be imported: as run train_" in backfill.dry.stdout


def test_imported_run_has_the_rows_of_a_logged_one(backfill: Backfill) -> None:
    imported, logged = backfill.run("train"), backfill.logged.run

    ours = [row for row in imported.history if "train/box_loss" in row]
    theirs = [row for row in logged.history if "train/box_loss" in row]
    kinds = ("train/", "val/", "metrics/", "lr/", "epoch")
    assert len(ours) == len(theirs) == 2
    for our, their in zip(ours, theirs):
        expected = {name: value for name, value in their.items() if name.startswith(kinds)}
        assert {name: our[name] for name in expected} == pytest.approx(expected, rel=1e-4)
        assert {name for name in our if not name.startswith("_")} == expected.keys()
    assert imported.metrics["metrics/*"] == "epoch"
    assert set(imported.summary["train/box_loss"]) == {"min"}
    assert imported.summary["best/epoch"] == logged.summary["best/epoch"]


def test_imported_run_has_config_pictures_and_checkpoints_of_a_logged_one(backfill: Backfill) -> None:
    imported, logged = backfill.run("train"), backfill.logged.run

    assert {name: imported.values[name] for name in logged.config if name in imported.values} == logged.config
    pictures = {name for row in logged.history for name, value in row.items() if is_image(value)}
    assert {name for row in imported.history for name, value in row.items() if is_image(value)} == pictures
    versions = [(artifact.aliases, list(artifact.manifest)) for artifact in imported.artifacts]
    assert [artifact.name for artifact in imported.artifacts] == [f"run_{imported.id}_model"] * 2
    assert sorted(alias for aliases, _ in versions for alias in aliases) == ["best", "epoch-2", "last", "latest"]
    facts = json.loads(imported.artifacts[-1].metadata or "")
    assert (facts["epoch"], facts["train_args"]["epochs"]) == (imported.summary["best/epoch"], 2)
    assert (imported.state, imported.fields["groupName"]) == ("finished", "old ones")


def is_image(value: object) -> bool:
    return isinstance(value, dict) and value.get("_type") == "image-file"


def test_rows_have_the_time_of_their_epoch(backfill: Backfill) -> None:
    old, classify = backfill.run("old"), backfill.run("a b")

    assert old.history[-1]["_timestamp"] == pytest.approx(END)
    first, second = (row["_timestamp"] for row in classify.history)
    assert second - first == pytest.approx(10)


def test_old_release_without_arguments_pictures_and_checkpoints(backfill: Backfill) -> None:
    run = backfill.run("old")

    assert [(row["epoch"], row["train/box_loss"], row["lr/pg0"]) for row in run.history] == [
        (1, 1.2345, 0.01),
        (2, 1.1111, 0.02),
    ]
    for note in (
        "args.yaml cannot be read (FileNotFoundError: ",
        "labels.jpg is no picture and is left out",
        "there is no weights/best.pt",
    ):
        assert note in backfill.done.stdout


def test_training_that_was_not_over_is_a_failed_run(backfill: Backfill) -> None:
    run = backfill.run("a b")

    assert (run.state, run.project, run.id[:4]) == ("failed", "p-q", "a_b_")
    assert [row["epoch"] for row in run.history] == [1, 2]
    assert math.isnan(run.history[0]["val/loss"])
    assert run.history[1]["train/loss"] == math.inf
    assert "2 of 100 epochs, 0 pictures; the training was not over: the run is marked as failed" in (
        backfill.line("runs/classify/a b")
    )
    assert "line 4 of results.csv has 4 of 7 values and is left out" in backfill.done.stdout


def test_directory_that_cannot_be_imported_is_named_and_the_others_go_on(backfill: Backfill) -> None:
    assert backfill.done.returncode == 1
    assert "results.csv has no column 'epoch' (its first columns: epoc, loss)" in backfill.line("runs/damaged")
    assert "failed: [Errno 21] Is a directory: " in backfill.line("runs/folder")
    assert backfill.line("nowhere") == "nowhere: failed: there is no such file or directory"
    assert sorted(backfill.done.stdout.splitlines()[-1].split(", ")) == ["3 failed", "5 imported", "5 skipped"]


def test_training_without_an_epoch_is_skipped_and_no_failure(backfill: Backfill) -> None:
    reason = "the training ended before its first epoch was over"
    assert backfill.line("runs/begun") == f"runs/begun: skipped: there is no results.csv: {reason}"
    assert "runs/before: skipped: results.csv holds no epoch: the training ended" in backfill.line("runs/before")
    assert "skipped: results.txt is of YOLOv7 or of an old YOLOv5" in backfill.line("runs/yolov7")


def test_last_training_of_a_directory_is_imported(backfill: Backfill) -> None:
    run = backfill.run("twice")

    assert [(row["epoch"], row["train/box_loss"]) for row in run.history] == [(1, 4), (2, 3)]
    assert (run.state, run.summary["train/box_loss"]) == ("finished", {"min": 3})
    assert "results.csv holds an earlier training, too: 3 epochs are left out" in backfill.done.stdout


def test_training_of_yolov5_has_its_options_and_hyperparameters(backfill: Backfill) -> None:
    run = backfill.run("exp2")

    assert (run.project, run.state, run.values["lr0"], run.values["epochs"]) == ("YOLOv5", "finished", 0.01, 2)
    assert [(row["epoch"], row["x/lr0"]) for row in run.history] == [(1, 0.01), (2, 0.02)]
    assert "hyp.yaml is not UTF-8 in line 2" in backfill.done.stdout


def test_training_that_was_logged_is_left_alone(backfill: Backfill) -> None:
    assert backfill.line("runs/live") == "runs/live: skipped: it was logged as run abc"
    assert "skipped: W&B's files of run xyz are in runs/stock/wandb: it was logged" in backfill.line("runs/stock")
    assert len(backfill.server.runs) == 5


def test_training_is_imported_once_wherever_it_lies(backfill: Backfill, tmp_path: Path) -> None:
    moved = shutil.copytree(backfill.runs_dir / "detect/train", tmp_path / "moved")
    copied = copy_of(backfill.runs_dir / "detect/train", tmp_path / "copied")  # before it was imported
    run = backfill.run("train")
    rows, versions = len(run.history), {artifact.digest for artifact in run.artifacts}

    with backfill.server as server:
        server.backend.store.runs = {(run.entity, run.project, run.id): run}
        done = import_command(server, tmp_path, str(moved), str(copied), str(moved / "results.csv"))

        assert list(server.runs) == [run]
    assert f"{moved}: skipped: it was imported as run {run.id}" in done.stdout
    assert f"{copied}: imported: as run {run.id}" in done.stdout
    assert (len(run.history), run.destroyed_rows) == (rows, [])
    assert {artifact.digest for artifact in run.artifacts} == versions  # W&B makes no version of what it has
    assert json.loads((copied / RECORD_FILE).read_text())["imported_epochs"] == 2


@NIGHTLY
def test_resumed_training_continues_its_imported_run(run_online: RunOnline) -> None:
    _, server = run_online("imports.py", "resume_an_imported_training")
    (run,) = server.runs

    assert [row["epoch"] for row in run.history] == [1, 2, 2, 2]
    assert (run.state, run.sessions, run.destroyed_rows) == ("finished", 2, [])
