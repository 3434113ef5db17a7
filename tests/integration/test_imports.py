"""Past trainings that are imported: again, in part, and without an answer of W&B."""

from __future__ import annotations

import json
from pathlib import Path

from wandb_server import WandbServer

from support.jobs import NIGHTLY, RunJob, run_command
from support.past_trainings import OLD_RESULTS, import_command, write_training
from ultralytics_wb_ddp.runs.run_record import RECORD_FILE
from ultralytics_wb_ddp.tools.training_directory import PastTraining
from ultralytics_wb_ddp.wandb_client.run_file import read_run


@NIGHTLY
def test_training_that_came_after_an_import_is_a_run_of_its_own(tmp_path: Path) -> None:
    training = write_training(tmp_path / "old", OLD_RESULTS, epochs=2, name="old")
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


@NIGHTLY
def test_import_that_was_cut_off_is_completed_and_epochs_that_came_since_are_added(
    run_job: RunJob, tmp_path: Path
) -> None:
    training = write_training(tmp_path / "old", OLD_RESULTS, epochs=3, name="old")
    run_id = PastTraining.read(training).run_id
    with WandbServer() as server:
        run_job("cut_off_import.py", "log_one_epoch", run_id, **server.environment)
        first = import_command(server, tmp_path, "old", "--project", "demo")
        (run,) = server.runs
        assert [row["epoch"] for row in run.history] == [1, 2]
        assert (first.returncode, run.state) == (0, "failed")

        with (training / "results.csv").open("a") as file:
            file.write("3,1.0,0.3,0.03\n")
        import_command(server, tmp_path, "old", "--project", "other")
        again = import_command(server, tmp_path, "old")

    assert [row["epoch"] for row in run.history] == [1, 2, 3]
    assert (run.state, run.destroyed_rows, len(server.runs)) == ("finished", [], 1)
    assert f"skipped: it was imported as run {run_id}" in again.stdout


def test_server_that_is_away_is_named_and_nothing_is_marked_as_imported(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_training(tmp_path / name, OLD_RESULTS)

    done = run_command(tmp_path, "import", "a", "b", timeout=100, WANDB_MODE="online")  # without a key

    assert done.returncode == 1
    assert done.stdout.count("failed: W&B cannot be used: ") == 2
    assert not (tmp_path / "a" / RECORD_FILE).exists()


@NIGHTLY
def test_import_whose_rows_are_refused_has_failed_and_names_the_command_that_sends_them(tmp_path: Path) -> None:
    write_training(tmp_path / "a", OLD_RESULTS, epochs=3)
    with WandbServer() as server:
        server.faults.add("FileStream", status=404)
        done = import_command(server, tmp_path, "a")
        server.faults.clear()
        (folder,) = (tmp_path / "a" / "wandb").glob("run-*-*")
        sent = run_command(tmp_path, "sync", str(folder), timeout=100, **server.environment)

    assert done.returncode == 1
    assert "W&B has not got 2 of 2 rows, the run's end" in done.stdout
    assert "send it with: ultralytics-wb-ddp sync " in done.stdout
    assert folder.name in done.stdout
    assert sent.returncode == 0, sent.stderr
    assert [row["epoch"] for row in server.runs[0].history if "epoch" in row][:2] == [1, 2]
