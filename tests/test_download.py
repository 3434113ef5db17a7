"""A run brought back from the W&B backend by the real client: files, history, console."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from wandb_server import WandbServer

from support.jobs import Job, RunJob, run_command
from ultralytics_wb_ddp.cli.main import main
from ultralytics_wb_ddp.tools.download import (
    DownloadedRun,
    TableError,
    check_format,
    missing_files_message,
    safe_path,
    write_table,
)

SCRIPT = """\
from pathlib import Path
from ultralytics_wb_ddp import WandbManager

with WandbManager({"wandb": {"project": "demo", "id": "r"}}, "job") as manager:
    manager.save_config({"lr": 0.1})
    print("what the job prints")
    for epoch in range(3):
        manager.run.log({"epoch": epoch, "loss": float("nan") if epoch == 1 else 1 / (epoch + 1)})
    manager.run.log({"note": 'a, "b"'})

Path("logs/files").mkdir(parents=True)
Path("logs/files/config.yaml").write_text("of an older download")
done = manager.download_logs("logs", strict=True)
print("downloaded", done.history, done.rows, done.console, len(done.files), done.missing)
print(manager.download_logs("job.py/logs"), manager.download_logs("logs", format="xlsx"))
"""


@pytest.fixture(scope="module")
def finished(run_job: RunJob) -> Iterator[tuple[WandbServer, Job]]:
    """A run that is finished and that its job has downloaded."""
    with WandbServer() as server:
        yield server, run_job(SCRIPT, prelude="", **server.environment, WANDB_CONSOLE="wrap")


def download(server: WandbServer, directory: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    done = run_command(directory, "download", *words, timeout=120, **{**server.environment, **env})
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
    assert "directory 'job.py/logs' cannot be written to: NotADirectoryError" in job.output
    assert "format='xlsx' is unknown; choose one of csv, parquet" in job.output


def test_run_on_disk_names_the_command_that_sends_it(run_job: RunJob) -> None:
    job = run_job(SCRIPT.replace(", strict=True", "").partition('print("downloaded')[0], prelude="")

    (folder,) = (job.directory / "wandb").glob("offline-run-*")
    assert f"run r is on disk only, in {folder}; send it first: ultralytics-wb-ddp sync {folder}" in job.output


@pytest.mark.parametrize("command", [["download", "RUN", "out"], ["resume", "RUN"], ["prune", "RUN", "--keep", "1"]])
@pytest.mark.parametrize(
    ("run", "words"),
    [
        ("abc", "is no path of a run; give entity/project/run-id, or its web address"),
        ("team//r", "is no path of a run"),
        ("/some/dir", "is no path of a run"),
        ("a/b/c/d", "is no path of a run"),
        (
            "wandb/offline-run-20260101_000000-r",
            "is a folder of this machine, .*: ultralytics-wb-ddp sync wandb/offline-",
        ),
        ("here/is/something", "is a folder of this machine"),
    ],
)
def test_run_of_another_form_is_refused_before_anybody_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], run: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here/is/something").mkdir(parents=True)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # where nothing listens

    done = CliRunner().invoke(main, [run if word == "RUN" else word for word in command])

    assert done.exit_code == 1
    assert re.search(words, done.output)
    assert [each.name for each in tmp_path.iterdir()] == ["here"]


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


def test_command_downloads_what_a_web_address_leads_to(finished: tuple[WandbServer, Job], tmp_path: Path) -> None:
    server, _ = finished

    done = download(server, tmp_path, f"{server.url}/team/demo/runs/r?nw=x", "out")

    assert (done.returncode, done.stderr) == (0, "")
    assert "out/history.csv: 4 rows" in done.stdout
    assert (tmp_path / "out/console.log").exists()


def test_what_cannot_be_downloaded_is_named(finished: tuple[WandbServer, Job], tmp_path: Path) -> None:
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


@pytest.mark.parametrize("name", ["a", "a/b.txt", "a/..b", "media/images/x y.png"])
def test_name_below_the_directory(tmp_path: Path, name: str) -> None:
    assert safe_path(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize("name", ["", ".", "..", "/a", "a//b", "a/", "../a", "a/../../b", "a\\b", "a\0b"])
def test_name_that_is_none_below_the_directory(tmp_path: Path, name: str) -> None:
    assert safe_path(tmp_path, name) is None


ROWS: list[dict[str, Any]] = [
    {"loss": 1, "flag": True, "image": {"_type": "image-file"}, "_step": 0, "huge": 2**64, "odd": "x"},
    {"loss": "Infinity", "_step": 1, "odd": 2},
]


def test_history_as_parquet_has_a_type_for_each_column(tmp_path: Path) -> None:
    write_table(ROWS, tmp_path / "history.parquet")

    table = pl.read_parquet(tmp_path / "history.parquet")
    assert table.to_dicts() == [
        {"_step": 0, "loss": 1.0, "flag": True, "image": '{"_type": "image-file"}', "huge": 2.0**64, "odd": "x"},
        {"_step": 1, "loss": float("inf"), "flag": None, "image": None, "huge": None, "odd": "2"},
    ]


def test_history_as_csv_has_a_row_for_each_row(tmp_path: Path) -> None:
    write_table(ROWS, tmp_path / "history.csv")

    with (tmp_path / "history.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["_step", "flag", "huge", "image", "loss", "odd"],
            ["0", "true", str(2**64), '{"_type": "image-file"}', "1", "x"],
            ["1", "", "", "", "Infinity", "2"],
        ]


def test_columns_of_a_history_are_the_axes_and_then_the_others_by_name(tmp_path: Path) -> None:
    write_table([{"val/loss": 1, "epoch": 1, "_step": 0}, {"lr": 2, "_step": 1, "epoch": 2}], tmp_path / "history.csv")

    assert (tmp_path / "history.csv").read_text().splitlines()[0] == "_step,epoch,lr,val/loss"


def test_run_without_rows_is_an_empty_table(tmp_path: Path) -> None:
    for name in ("history.csv", "history.parquet"):
        write_table([], tmp_path / name)

    assert (tmp_path / "history.csv").read_text().strip() == ""
    assert pl.read_parquet(tmp_path / "history.parquet").height == 0


def test_parquet_without_polars_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)

    with pytest.raises(TableError, match=r"install it with: pip install 'ultralytics-wb-ddp\[parquet\]'"):
        check_format("parquet")
    check_format("csv")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], None),
        (["a.txt"], "1 file is not downloaded: 'a.txt': gone"),
        (["a.txt", "b.txt"], "2 files are not downloaded: 'a.txt': gone; 'b.txt': gone"),
    ],
)
def test_missing_files_are_counted_in_words_of_one_or_of_several(names: list[str], message: str | None) -> None:
    run = DownloadedRun(Path("out"), (), Path("out/history.csv"), 1, None, dict.fromkeys(names, "gone"))

    assert missing_files_message(run) == message
