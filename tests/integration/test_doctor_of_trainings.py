"""The doctor after a training, with run files of the real client."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from support.doctor import Doctor, Trained, doctor_in
from ultralytics_wb_ddp.doctor.past_training_checks import check_training


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Doctor]:
    with doctor_in(monkeypatch, tmp_path) as doctor:
        yield doctor


@pytest.fixture
def trained(doctor: Doctor, tmp_path: Path) -> Trained:  # noqa: ARG001  # in its directory and environment
    return Trained(tmp_path)


def test_training_in_order_is_one_run_with_all_epochs(doctor: Doctor, trained: Trained) -> None:
    trained.log("good", "-", "1", "2", "2")
    trained.results(2)
    trained.record("good")

    answer = doctor.ask("--training", "train")

    assert (answer.exit_code, answer.plan) == (0, None)
    ok = answer.of("ok")
    assert "good is the only one" in ok["one run"]
    assert "run good has all 2 epochs" in ok["metrics"]
    assert "run good is finished" in ok["end"]
    assert answer.of("warning")["sent"].endswith("ultralytics-wb-ddp sync train")


def test_several_runs_are_named_with_the_usual_causes(trained: Trained) -> None:
    trained.log("empty", "-", below=trained.job)
    trained.log("full", "1", "2")
    trained.results(2)
    trained.record("full")

    answer = trained.examine()

    text = answer["error"]["one run"]
    assert "several runs created: empty (0 epochs), full (2 epochs)" in text
    assert "did not give it to add_wandb_callback(model, run=run)" in text
    assert "has all 2 epochs" in answer["ok"]["metrics"]


def test_unrelated_runs_of_the_same_script_are_no_error(trained: Trained) -> None:
    trained.log("before", "-", below=trained.job)
    (trained.directory / "args.yaml").write_text("epochs: 2\n")
    trained.log("full", "1", "2")
    trained.results(2)
    trained.record("full")
    trained.log("after", "-", below=trained.job)

    answer = trained.examine()

    assert answer["error"] == {}
    assert "full is the only one" in answer["ok"]["one run"]
    assert "other run" not in answer["warning"]


def test_run_of_another_project_that_was_open_during_the_training_is_a_hint(trained: Trained) -> None:
    (trained.directory / "args.yaml").write_text("epochs: 2\n")
    trained.log("open", "-", below=trained.job, project="monitor")
    trained.log("full", "1", "2")
    trained.results(2)
    trained.record("full")

    answer = trained.examine()

    assert answer["error"] == {}
    assert "run open of project monitor was open while this training ran" in answer["warning"]["other run"]
    assert "add_wandb_callback(model, run=run)" in answer["warning"]["other run"]


def test_run_of_another_job_beside_the_training_does_not_count(trained: Trained) -> None:
    trained.log("older", "-", below=trained.job)
    (file,) = (trained.job / "wandb").glob("offline-run-*/run-older.wandb")
    an_hour_ago = time.time() - 3600
    os.utime(file, (an_hour_ago, an_hour_ago))
    trained.log("full", "1")
    trained.results(1)

    answer = trained.examine()

    assert "full is the only one" in answer["ok"]["one run"]
    assert "has no wandb_run.json" in answer["warning"]["record"]


@pytest.mark.parametrize(
    ("rows", "words"), [(["-"], "run thin has no epoch, results.csv has 3"), (["1"], "missing: epochs 2, 3")]
)
def test_metrics_that_are_missing_are_told(trained: Trained, rows: list[str], words: str) -> None:
    trained.log("thin", *rows)
    trained.results(3)
    trained.record("thin")

    answer = trained.examine()

    assert "metrics missing" in answer["error"]["metrics"]
    assert words in answer["error"]["metrics"]


def test_missing_epochs_that_are_not_listed_are_counted(trained: Trained) -> None:
    trained.log("thin", "1", "2", "3", "4", "5")
    trained.results(60)
    trained.record("thin", written_at=time.time() + 60)

    answer = trained.examine()["error"]["metrics"]

    assert (
        "run thin has 5 epochs, results.csv has 60 -> missing: epochs 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 and 45"
        in answer
    )
    assert "15 and 45 more; look for warnings" in answer
    assert "resumed" not in answer


def test_resume_without_the_callback_is_told(trained: Trained) -> None:
    trained.log("thin", "1", "2")
    trained.results(3)
    trained.record("thin", written_at=time.time() - 60)
    (trained.directory / "args.yaml").write_text("task: detect\nresume: train/weights/last.pt\n")

    answer = trained.examine()["error"]["metrics"]

    assert "results.csv has 3: the training was resumed without the callback -> missing: epoch 3; call add_w" in answer


def test_run_that_was_sent_but_does_not_say_how_it_ended(trained: Trained) -> None:
    trained.log("cut", "1")
    trained.results(1)
    (file,) = trained.directory.rglob("run-cut.wandb")
    file.write_bytes(file.read_bytes()[:-40])  # as a killed process leaves it
    file.with_name("run-cut.wandb.synced").write_text("")

    answer = trained.examine()

    assert "run cut is not finished" in answer["warning"]["end"]
    assert "sent" not in answer["warning"]


def test_command_for_an_online_run_of_the_user_that_was_killed_is_named(trained: Trained) -> None:
    trained.log("cut", "1")
    trained.results(1)
    (file,) = trained.directory.rglob("run-cut.wandb")
    file.write_bytes(file.read_bytes()[:-40])  # as a killed process leaves it
    file.parent.rename(file.parent.with_name(file.parent.name.removeprefix("offline-")))

    answer = trained.examine()["warning"]["sent"]

    assert "cut off while they were sent, perhaps not complete at W&B: 1 session" in answer
    assert answer.endswith("ultralytics-wb-ddp sync train")


def test_training_that_goes_on_is_in_order(trained: Trained) -> None:
    trained.log("live", "1")
    trained.results(3)  # the rows of the newest epochs are not on disk yet
    (file,) = trained.directory.rglob("run-live.wandb")
    file.write_bytes(file.read_bytes()[:-40])
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        started = psutil.Process(process.pid).create_time()
        place = {"host": socket.gethostname(), "pid": process.pid, "started": started}
        trained.record("live", trains={**place, "is_worker": True})

        answer = trained.examine()

    assert "run live has the only epoch of results.csv" in answer["ok"]["metrics"]
    assert f"run live goes on in process {process.pid}; last written 20" in answer["ok"]["end"]
    assert answer["error"] == {}
    assert "metrics missing" in trained.examine()["error"]["metrics"], "once the process has ended"


def test_run_is_found_where_the_record_says_from_any_directory(trained: Trained, tmp_path: Path) -> None:
    place = trained.job / "a place"
    trained.log("away", "1", below=place)
    trained.results(1)
    (folder,) = (place / "wandb").glob("offline-run-*")
    trained.record("away", links={"sync_command": f"wandb sync {folder}"})

    found = check_training(trained.directory, tmp_path / "elsewhere")

    texts = {finding.check: (finding.status, finding.message) for finding in found}
    assert "files are not here" not in texts["record"][1]
    assert texts["metrics"] == ("ok", "run away has the only epoch of results.csv")
