"""A run brought back from the W&B backend by the real client: files, history, console."""

from __future__ import annotations

import csv
import io
import subprocess
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from wandb_server import WandbServer

from support.jobs import NIGHTLY, Job, RunJob, run_command

SCENARIO = "download.py"


@pytest.fixture(scope="module")
def finished(run_job: RunJob) -> Iterator[tuple[WandbServer, Job]]:
    """A run that is finished and that its job has downloaded."""
    with WandbServer() as server:
        yield server, run_job(SCENARIO, "download_a_finished_run", **server.environment, WANDB_CONSOLE="wrap")


def download(server: WandbServer, directory: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    done = run_command(directory, "download", *words, timeout=400, **{**server.environment, **env})
    assert "Traceback" not in done.stderr
    return done


def test_manager_downloads_its_run_when_it_is_finished(finished: tuple[WandbServer, Job]) -> None:
    server, job = finished
    (run,) = server.runs
    logs = job.directory / "logs"

    files = {str(file.relative_to(logs / "files")): file for file in (logs / "files").rglob("*") if file.is_file()}
    assert files.keys() == set(run.files) >= {"configs/training-job-config.yaml", "config.yaml", "output.log"}
    assert all(file.read_bytes() == run.file(name) for name, file in files.items())
    assert "what the job prints" in (logs / "console.log").read_text()
    rows = list(csv.DictReader(io.StringIO((logs / "history.csv").read_text())))
    assert [(row["_step"], row["epoch"], row["loss"], row["note"]) for row in rows] == [
        ("0", "0", "1", ""),
        ("1", "1", "NaN", ""),
        ("2", "2", "0.3333333333333333", ""),
        ("3", "", "", 'a, "b"'),
    ]
    assert f"downloaded logs/history.csv 4 logs/console.log {len(run.files)} {{}}" in job.output


def test_manager_that_cannot_download_says_so_and_goes_on(finished: tuple[WandbServer, Job]) -> None:
    _, job = finished

    assert "None None" in job.output
    assert "directory 'file/logs' cannot be written to: NotADirectoryError" in job.output
    assert "format='xlsx' is unknown; choose one of csv, parquet" in job.output


@NIGHTLY
def test_run_on_disk_names_the_command_that_sends_it(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "download_a_run_on_disk")

    (folder,) = (job.directory / "wandb").glob("offline-run-*")
    assert f"run r is on disk only, in {folder}; send it first: ultralytics-wb-ddp sync {folder}" in job.output


def test_names_from_the_server_never_leave_the_directory(finished: tuple[WandbServer, Job], tmp_path: Path) -> None:
    server, _ = finished
    run = server.runs[0]
    (tmp_path / "outside").mkdir()
    (tmp_path / "out/files").mkdir(parents=True)
    (tmp_path / "out/files/link").symlink_to(tmp_path / "outside")
    (tmp_path / "out/history.parquet").symlink_to(tmp_path / "outside/history.parquet")
    evil = ["../evil", "../../evil", f"{tmp_path}/outside/evil", "link/evil", "a/../../evil", "..\\evil"]
    for name in evil:
        run.uploads[name] = b"evil"

    done = download(server, tmp_path, "team/demo/r", "out", "--format", "parquet")

    for name in evil:
        del run.uploads[name]
    assert list((tmp_path / "outside").iterdir()) == []
    assert list(tmp_path.rglob("*evil*")) == []
    assert done.returncode == 1
    assert "6 files are not downloaded: '../evil': the name leads out of the directory" in done.stderr
    table = pl.read_parquet(tmp_path / "out/history.parquet")
    assert table["loss"].to_list()[::2] == [1.0, 1 / 3]
    assert table.schema["epoch"] == pl.Int64


@NIGHTLY
def test_command_downloads_what_a_web_address_leads_to(finished: tuple[WandbServer, Job], tmp_path: Path) -> None:
    server, _ = finished

    done = download(server, tmp_path, f"{server.url}/team/demo/runs/r?nw=x", "out")

    assert (done.returncode, done.stderr) == (0, "")
    assert "out/history.csv: 4 rows" in done.stdout
    assert (tmp_path / "out/console.log").exists()


@NIGHTLY
def test_run_that_cannot_be_downloaded_is_named(finished: tuple[WandbServer, Job], tmp_path: Path) -> None:
    server, _ = finished
    (tmp_path / "file").write_text("")
    for words, env, message in (
        (("team/demo/none", "out"), {}, "run 'team/demo/none' cannot be read: "),
        (("team/demo/r", "file"), {}, "directory 'file' cannot be written to: "),
        (("team/demo/r", "/proc/out"), {}, "directory '/proc/out' cannot be written to: "),
        (("team/demo/r", "out"), {"WANDB_API_KEY": ""}, "run 'team/demo/r' cannot be read: "),
    ):
        done = download(server, tmp_path, *words, **env)

        assert done.returncode == 1, words
        assert message in done.stderr


def test_file_that_does_not_arrive_is_named_and_the_others_are_there(
    finished: tuple[WandbServer, Job], tmp_path: Path
) -> None:
    server, _ = finished
    fault = server.faults.add(
        "Download", status=404, when=lambda request: "/config.yaml" in request.head or "/output.log" in request.head
    )
    (tmp_path / "out/files").mkdir(parents=True)
    (tmp_path / "out/files/output.log").write_text("of an older download")
    (tmp_path / "out/console.log").write_text("of an older download")

    done = download(server, tmp_path, "team/demo/r", "out")

    fault.remove()

    assert done.returncode == 1
    assert "2 files are not downloaded: " in done.stderr
    assert "'config.yaml': " in done.stderr
    assert (tmp_path / "out/files/configs/training-job-config.yaml").exists()
    assert "W&B has nothing that the run printed" in done.stdout
    assert not (tmp_path / "out/console.log").exists()
