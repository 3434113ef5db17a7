"""Trainings that nobody has logged become runs, once each: ``ultralytics-wb-ddp import``."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]  # carries no types
from wandb_server import WandbServer
from wandb_server.store import StoredRun

from support.jobs import INTERRUPTED, NIGHTLY, Job, RunJob, RunOnline, run_command
from ultralytics_wb_ddp.artifacts.results_csv import ResultsError, read_results
from ultralytics_wb_ddp.config.options import RunOptions
from ultralytics_wb_ddp.runs.run_record import RECORD_FILE, RunRecord
from ultralytics_wb_ddp.tools.backfill import import_trainings
from ultralytics_wb_ddp.tools.training_directory import PastTraining
from ultralytics_wb_ddp.wandb_client.run_file import read_run

OLD = """\
                  epoch,         train/box_loss,       metrics/mAP50(B),                 lr/pg0
                      1,                 1.2345,                    0.1,                   0.01
                      2,                 1.1111,                    0.2,                   0.02
"""
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


def command(server: WandbServer, directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    done = run_command(directory, "import", *words, timeout=200, **server.environment)
    assert "Traceback" not in done.stdout + done.stderr
    return done


def copy_of(training: Path, place: Path) -> Path:
    """Copy a training's directory as it is where nobody has logged it."""
    shutil.copytree(training, place, ignore=shutil.ignore_patterns("wandb", "wandb_*"))
    return place


def write(place: Path, results: str, **arguments: object) -> Path:
    place.mkdir(parents=True)
    (place / "results.csv").write_text(results)
    if arguments:
        (place / "args.yaml").write_text(yaml.safe_dump(arguments))
    return place


class Backfill:
    """A tree of trainings that was imported, and what was told of it."""

    def __init__(self, server: WandbServer, root: Path, logged: Job) -> None:
        self.server, self.root, self.logged = server, root, logged
        self.runs_dir = root / "runs"
        copy_of(logged.directory / "train", self.runs_dir / "detect/train")
        old = write(self.runs_dir / "old", OLD)
        (old / "labels.jpg").write_text("no picture")
        os.utime(old / "results.csv", (END, END))
        write(self.runs_dir / "classify/a b", CLASSIFY, name="a b", epochs=100, project="p/q")
        write(self.runs_dir / "damaged", "epoc,loss\n1,2\n")
        write(self.runs_dir / "before", "", epochs=3)
        (write(self.runs_dir / "begun", "", epochs=3) / "results.csv").unlink()
        write(self.runs_dir / "twice", TWICE, epochs=2)
        foreign = write(self.runs_dir / "exp2", YOLOV5)
        (foreign / "opt.yaml").write_text("epochs: 2\nname: exp\nproject: runs/train\nsave_dir: runs/train/exp2\n")
        (foreign / "hyp.yaml").write_bytes(b"lr0: 0.01\nnote: caf\xe9\n")
        (write(self.runs_dir / "yolov7", "") / "results.csv").rename(self.runs_dir / "yolov7/results.txt")
        (self.runs_dir / "yolov7/opt.yaml").write_text("epochs: 2\n")
        (write(self.runs_dir / "folder", "") / "results.csv").unlink()
        (self.runs_dir / "folder/results.csv").mkdir()
        RunRecord("abc").save(write(self.runs_dir / "live", OLD), closed=True)
        (write(self.runs_dir / "stock", OLD) / "wandb/run-20260101_120000-xyz").mkdir(parents=True)
        (self.runs_dir / "stock/wandb/run-20260101_120000-xyz/run-xyz.wandb").write_bytes(b"")
        self.dry = command(server, root, "runs/**", "--dry-run")
        self.runs_after_dry_run = len(server.runs)
        self.done = command(server, root, "runs/**", "nowhere", "--checkpoints", "best+last", "--group", "old ones")

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


def test_one_epoch_is_no_plural(tmp_path: Path) -> None:
    (tmp_path / "args.yaml").write_text("task: detect\nmode: train\nepochs: 1\n")
    (tmp_path / "results.csv").write_text("epoch,time,train/box_loss\n1,10,0.5\n")

    (result,) = import_trainings([str(tmp_path)], RunOptions(), dry_run=True)

    assert result.text.endswith(", 1 epoch, 0 pictures")


def test_what_cannot_be_imported_is_named_and_the_others_go_on(backfill: Backfill) -> None:
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


def test_training_that_came_after_an_import_is_a_run_of_its_own(tmp_path: Path) -> None:
    training = write(tmp_path / "old", OLD, epochs=2, name="old")
    first = run_command(tmp_path, "import", "old", "--mode", "offline", timeout=100)
    run_id = json.loads((training / RECORD_FILE).read_text())["id"]
    with (training / "results.csv").open("a") as file:
        file.write("1,9,0.3,0.03\n2,8,0.4,0.03\n3,7,0.5,0.03\n")

    second = run_command(tmp_path, "import", "old", "--mode", "offline", timeout=100)
    third = run_command(tmp_path, "import", "old", "--mode", "offline", timeout=100)

    record = json.loads((training / RECORD_FILE).read_text())
    assert (first.returncode, second.returncode, record["imported_epochs"]) == (0, 0, 3)
    assert record["id"] != run_id
    assert f"run {run_id} is of an earlier training in this directory and stays as it is" in second.stdout
    assert f"skipped: it was imported as run {record['id']}" in third.stdout
    (folder,) = (training / "wandb").glob(f"offline-run-*-{record['id']}")
    assert [row["epoch"] for row in read_run(folder / f"run-{record['id']}.wandb").rows("epoch")] == [1, 2, 3]


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
        done = command(server, tmp_path, str(moved), str(copied), str(moved / "results.csv"))

        assert list(server.runs) == [run]
    assert f"{moved}: skipped: it was imported as run {run.id}" in done.stdout
    assert f"{copied}: imported: as run {run.id}" in done.stdout
    assert (len(run.history), run.destroyed_rows) == (rows, [])
    assert {artifact.digest for artifact in run.artifacts} == versions  # W&B makes no version of what it has
    assert json.loads((copied / RECORD_FILE).read_text())["imported_epochs"] == 2


@NIGHTLY
def test_resumed_training_continues_its_imported_run(run_online: RunOnline) -> None:
    _, server = run_online(
        INTERRUPTED
        + """\
import subprocess
command = [sys.executable, "-m", "ultralytics_wb_ddp.cli", "import", "train", "--project", "demo"]
subprocess.run(command, check=True)
model = YOLO("train/weights/last.pt")
add_wandb_callback(model)
model.train(resume=True)
subprocess.run(command, check=True)
""",
    )
    (run,) = server.runs

    assert [row["epoch"] for row in run.history] == [1, 2, 2, 2]
    assert (run.state, run.sessions, run.destroyed_rows) == ("finished", 2, [])


@NIGHTLY
def test_import_that_was_cut_off_is_completed_and_epochs_that_came_since_are_added(
    run_job: RunJob, tmp_path: Path
) -> None:
    training = write(tmp_path / "old", OLD, epochs=3, name="old")
    run_id = PastTraining.read(training).run_id
    with WandbServer() as server:
        cut_off = f"import wandb\nwith wandb.init(project='demo', id={run_id!r}) as run:\n    run.log({{'epoch': 1}})\n"
        run_job(cut_off, prelude="", **server.environment)
        first = command(server, tmp_path, "old", "--project", "demo")
        (run,) = server.runs
        assert [row["epoch"] for row in run.history] == [1, 2]
        assert (first.returncode, run.state) == (0, "failed")

        with (training / "results.csv").open("a") as file:
            file.write("3,1.0,0.3,0.03\n")
        command(server, tmp_path, "old", "--project", "other")
        again = command(server, tmp_path, "old")

    assert [row["epoch"] for row in run.history] == [1, 2, 3]
    assert (run.state, run.destroyed_rows, len(server.runs)) == ("finished", [], 1)
    assert f"skipped: it was imported as run {run_id}" in again.stdout


def test_w_and_b_that_is_away_is_said_once_and_nothing_is_marked_as_imported(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, OLD)

    done = run_command(tmp_path, "import", "a", "b", timeout=100, WANDB_MODE="online")  # without a key

    assert done.returncode == 1
    assert done.stdout.count("failed: W&B cannot be used: ") == 2
    assert not (tmp_path / "a" / RECORD_FILE).exists()


def test_import_whose_rows_are_refused_has_failed_and_names_the_command_that_sends_them(tmp_path: Path) -> None:
    write(tmp_path / "a", OLD, epochs=3)
    with WandbServer() as server:
        server.faults.add("FileStream", status=404)
        done = command(server, tmp_path, "a")
        server.faults.clear()
        (folder,) = (tmp_path / "a" / "wandb").glob("run-*-*")
        sent = run_command(tmp_path, "sync", str(folder), timeout=100, **server.environment)

    assert done.returncode == 1
    assert "W&B has not got 2 of 2 rows, the run's end" in done.stdout
    assert "send it with: ultralytics-wb-ddp sync " in done.stdout
    assert folder.name in done.stdout
    assert sent.returncode == 0, sent.stderr
    assert [row["epoch"] for row in server.runs[0].history if "epoch" in row][:2] == [1, 2]


def test_nothing_to_import_is_an_error(tmp_path: Path) -> None:
    done = run_command(tmp_path, "import", ".", timeout=60)

    assert done.returncode == 1
    assert "there is no training in .: a training's directory holds results.csv and args.yaml" in done.stderr


def results(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "results.csv"
    file.write_text(text)
    return file


def test_epoch_that_was_trained_twice_counts_as_the_second_one(tmp_path: Path) -> None:
    read = read_results(results(tmp_path, "epoch,time,a\n1,5,0.1\n2,10,0.2\n2,4,0.3\n3,8,0.4\n"))

    assert [row["a"] for row in read.rows] == [0.1, 0.3, 0.4]
    assert read.seconds == (5, 9, 13)


def test_epochs_that_the_release_counts_from_0_are_counted_from_1(tmp_path: Path) -> None:
    assert [row["epoch"] for row in read_results(results(tmp_path, "epoch,a\n0,1\n1,2\n")).rows] == [1, 2]


def test_last_number_of_a_line_without_an_end_is_not_believed(tmp_path: Path) -> None:
    assert read_results(results(tmp_path, "epoch,a,b\n1,1,1\n2,2,0.")).rows[-1] == {"epoch": 2, "a": 2}


@pytest.mark.parametrize("line", ["1,\0\0", "x,1", "nan,1", "1"])
def test_line_that_is_damaged_is_left_out(tmp_path: Path, line: str) -> None:
    read = read_results(results(tmp_path, f"epoch,a\n{line}\n2,2\n"))

    assert [row["epoch"] for row in read.rows] == [2]
    assert read.notes[0].startswith("line 2 of results.csv ")


def test_file_without_an_epoch_says_that_none_was_over(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"results\.csv holds no epoch: the training ended before"):
        read_results(results(tmp_path, "epoch,a\n"))


def test_training_that_stopped_early_is_over(tmp_path: Path) -> None:
    training = PastTraining.read(write(tmp_path / "train", OLD, epochs=100))
    assert training.is_complete({}) is False

    (tmp_path / "train/results.png").write_bytes(b"")
    assert training.is_complete({}) is True
