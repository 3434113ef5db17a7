"""Sending what is on disk and has not arrived, with the real client."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from wandb_server import WandbServer
from wandb_server.faults import Request
from wandb_server.store import StoredRun

from support.jobs import NIGHTLY, RunJob, job_environment, run_command, run_in
from ultralytics_wb_ddp.cli.main import main
from ultralytics_wb_ddp.tools import sync as sync_module
from ultralytics_wb_ddp.tools.sync import sync
from ultralytics_wb_ddp.wandb_client.run_file import HEADER_SIZE, decode_records, encode_records, find_run_files
from ultralytics_wb_ddp.wandb_client.run_state import sync_command
from ultralytics_wb_ddp.wandb_client.server import ServerError

# A session whose process is killed: the rows of the first seconds have arrived, the last has not.
CUT_OFF = """
import os, signal, time, wandb
settings = {"x_file_stream_transmit_interval": 2, "x_transaction_log_flush_interval": 0.1}
run = wandb.init(project="demo", id="abc", resume=RESUME, settings=settings)
run.log({"x": FIRST, "image": wandb.Image("picture.png")})
run.log({"x": FIRST + 1})
time.sleep(4)
run.log({"x": FIRST + 2})
time.sleep(0.5)
os.kill(os.getpid(), signal.SIGKILL)
"""
PICTURE = "from PIL import Image\nImage.new('RGB', (4, 4)).save('picture.png')\n"


def rows(run: StoredRun) -> list[tuple[int, int]]:
    return [(row["_step"], row["x"]) for row in run.history]


def test_rows_that_have_arrived_are_not_sent_again(run_job: RunJob) -> None:
    with WandbServer() as server:
        cut_off = CUT_OFF.replace("FIRST", "0").replace("RESUME", "None")
        job = run_job(PICTURE + cut_off, prelude="", check=False, **server.environment)
        (run,) = server.runs
        assert rows(run) == [(0, 0), (1, 1)]

        (file,) = find_run_files(job.directory)
        done = run_command(job.directory, "sync", str(file.parent), timeout=60, **server.environment)

    assert done.returncode == 0, done.stderr
    assert rows(run) == [(0, 0), (1, 1), (2, 2)]
    assert run.destroyed_rows == []
    assert run.state == "failed"
    assert run.file(run.history[0]["image"]["path"])


def test_session_that_continued_the_run_goes_on_where_it_was_cut_off(run_job: RunJob) -> None:
    with WandbServer() as server:
        complete = "import wandb\nwith wandb.init(project='demo', id='abc') as run:\n    run.log({'x': 0})\n"
        run_job(complete, prelude="", **server.environment)
        cut_off = CUT_OFF.replace("FIRST", "1").replace("RESUME", "'must'")
        job = run_job(PICTURE + cut_off, prelude="", check=False, **server.environment)
        (file,) = find_run_files(job.directory)
        done = run_command(job.directory, "sync", str(file.parent), timeout=60, **server.environment)

    assert done.returncode == 0, done.stderr
    assert rows(server.runs[0]) == [(0, 0), (1, 1), (2, 2), (3, 3)]


def test_session_of_which_nothing_has_arrived_is_sent_whole(run_job: RunJob) -> None:
    with WandbServer() as server, WandbServer() as other:
        cut_off = CUT_OFF.replace("FIRST", "0").replace("RESUME", "None")
        job = run_job(PICTURE + cut_off, prelude="", check=False, **server.environment)
        (file,) = find_run_files(job.directory)
        run_command(job.directory, "sync", str(file.parent), timeout=60, **other.environment)

    assert rows(other.runs[0]) == [(0, 0), (1, 1), (2, 2)]


def test_server_that_is_away_is_an_error_and_nothing_is_marked_as_sent(run_job: RunJob) -> None:
    with WandbServer() as server:
        cut_off = CUT_OFF.replace("FIRST", "0").replace("RESUME", "None")
        job = run_job(PICTURE + cut_off, prelude="", check=False, **server.environment)
    (file,) = find_run_files(job.directory)
    done = run_command(job.directory, "sync", str(file.parent), timeout=60, **server.environment)

    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr
    assert list(file.parent.glob("*.synced")) == []


# What the server does not take

KEPT = """
import wandb
from ultralytics_wb_ddp.wandb_client.internals import use_artifact
run = wandb.init(project="demo", id="abc", mode="offline", resume="allow", config={"lr": 0.1})
for x in range(3):
    run.log({"x": x})
open("note.txt", "w").write("what is kept")
run.save("note.txt")
artifact = wandb.Artifact("weights", "model")
artifact.add_file("note.txt")
run.log_artifact(artifact)
dataset = wandb.Artifact("images", "dataset")
dataset.add_reference("s3://bucket/images", checksum=False)
use_artifact(run, dataset)  # as a training does it
run.finish(exit_code=2)
"""


@pytest.fixture(scope="module")
def kept(run_job: RunJob) -> Path:
    """The folder of a session that was written offline."""
    return run_job(KEPT, prelude="").run.path.parent


def send(kept: Path, server: WandbServer, directory: Path) -> subprocess.CompletedProcess[str]:
    """Send a copy of the session, called ``offline-run-...`` as it was."""
    folder = directory / kept.name
    shutil.copytree(kept, folder, symlinks=True)
    return run_command(directory, "sync", str(folder), timeout=120, **server.environment)


@pytest.mark.parametrize("count_lag", [0.0, 4.0])
def test_part_that_has_arrived_is_marked_as_sent_and_not_sent_twice(
    kept: Path, tmp_path: Path, count_lag: float
) -> None:
    with WandbServer() as server:
        server.backend.store.count_lag = count_lag
        done = send(kept, server, tmp_path)
        again = run_command(tmp_path, "sync", str(tmp_path / kept.name), timeout=120, **server.environment)

    assert (done.returncode, again.returncode) == (0, 0), done.stderr + again.stderr
    assert "was sent before" in again.stderr
    assert [row["x"] for row in server.runs[0].history] == [0, 1, 2]
    assert (server.runs[0].state, server.runs[0].exit_code) == ("failed", 2)
    assert len(list((tmp_path / kept.name).glob("*.synced"))) == 1


@pytest.mark.parametrize(
    ("kind", "fault", "missing"),
    [
        ("UpsertBucket", {"status": 403}, "the run itself"),
        ("UpsertBucket", {"status": 400}, "the run itself"),
        pytest.param("UpsertBucket", {"status": 404}, "the run itself", marks=NIGHTLY),
        ("FileStream", {"status": 404}, "3 of 3 rows, the run's end"),
        ("Upload", {"status": 403}, "note.txt"),
        ("CreateArtifact", {"status": 400}, "artifact weights, input images"),
        ("UseArtifact", {"status": 400}, "input images"),
    ],
)
def test_part_that_the_server_refuses_is_an_error_that_names_what_is_missing(
    kept: Path, tmp_path: Path, kind: str, fault: dict[str, int], missing: str
) -> None:
    with WandbServer() as server:
        server.faults.add(kind, **fault)  # type: ignore[arg-type]
        done = send(kept, server, tmp_path)

        assert done.returncode == 1, done.stderr
        assert "Error: run team/demo/abc: of " in done.stderr
        assert missing in done.stderr.split("W&B has not got ")[1].split(";")[0]
        assert list((tmp_path / kept.name).glob("*.synced")) == []

        server.faults.clear()
        again = run_command(tmp_path, "sync", str(tmp_path / kept.name), timeout=120, **server.environment)

    assert again.returncode == 0, again.stderr
    assert [row["x"] for row in server.runs[0].history] == [0, 1, 2], "no row is there twice"
    assert len(list((tmp_path / kept.name).glob("*.synced"))) == 1


@NIGHTLY
def test_server_that_never_takes_the_run_is_an_error_after_a_minute(kept: Path, tmp_path: Path) -> None:
    with WandbServer() as server:
        server.faults.add("UpsertBucket", status=409)  # the client tries again without end
        done = send(kept, server, tmp_path)

    assert done.returncode == 1
    assert "Error: run team/demo/abc: W&B has not taken the run for 60 s" in done.stderr
    assert list((tmp_path / kept.name).glob("*.synced")) == []


def test_mark_of_wandbs_own_does_not_keep_a_part_that_has_not_arrived(kept: Path, tmp_path: Path) -> None:
    with WandbServer() as server:
        (tmp_path / kept.name).mkdir()
        shutil.copytree(kept, tmp_path / kept.name, symlinks=True, dirs_exist_ok=True)
        (tmp_path / kept.name / "run-abc.wandb.synced").touch()
        done = run_command(tmp_path, "sync", str(tmp_path / kept.name), timeout=120, **server.environment)

    assert done.returncode == 0, done.stderr
    assert len(server.runs[0].history) == 3


@pytest.mark.parametrize("content", [b"", b":W&"])
def test_session_that_found_the_disk_full_has_nothing_to_send(kept: Path, tmp_path: Path, content: bytes) -> None:
    torn = tmp_path / "run-20200101_000000-abc"
    torn.mkdir()
    (torn / "run-abc.wandb").write_bytes(content)
    with WandbServer() as server:
        done = send(kept, server, tmp_path)

    assert done.returncode == 0, done.stderr
    assert f"{torn.name} holds no data" in done.stderr
    assert [row["x"] for row in server.runs[0].history] == [0, 1, 2]


def test_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["sync", str(tmp_path)])

    assert done.exit_code == 1
    assert "holds no .wandb file; give a directory that W&B has written" in done.output


def test_part_that_was_written_offline_takes_wandbs_own_command() -> None:
    assert sync_command("wandb/offline-run-1-a") == "ultralytics-wb-ddp sync wandb/offline-run-1-a"
    assert sync_command("wandb/run-1-a") == "ultralytics-wb-ddp sync wandb/run-1-a"
    assert sync_command("wandb/run-1-a", "x/offline-run-2-a").endswith(" sync wandb/run-1-a x/offline-run-2-a")


def test_records_of_any_size_are_packed_as_wandb_packs_them(run_job: RunJob, tmp_path: Path) -> None:
    sizes = [0, 1, 32_754, 32_755, 32_761, 32_768, 200_000]
    records = [random.Random(size).randbytes(size) for size in sizes]
    assert list(decode_records(encode_records(b":W&B\0\0\0", records), tmp_path)) == records

    job = run_job(
        "import wandb\nwith wandb.init(project='demo') as run:\n    run.log({'text': 'x' * 70_000})\n", prelude=""
    )
    content = job.run.path.read_bytes()
    assert encode_records(content[:HEADER_SIZE], decode_records(content, job.run.path)) == content


# Several sessions of one run

LATER = """
import wandb
run = wandb.init(project="demo", id="abc", resume="allow", mode=MODE, config={"lr": 0.2})
run.define_metric("score", summary="max")
for x, score in ROWS:
    run.log({"x": x, "score": score})
run.finish(exit_code=CODE)
"""


def later(rows: list[tuple[int, float]], mode: str = "online", code: int = 0) -> str:
    return LATER.replace("ROWS", repr(rows)).replace("MODE", repr(mode)).replace("CODE", str(code))


def test_rows_of_a_killed_session_are_sent_after_a_later_session_has_ended_the_run(run_job: RunJob) -> None:
    with WandbServer() as server:
        cut_off = CUT_OFF.replace("FIRST", "0").replace("RESUME", "None")
        job = run_job(PICTURE + cut_off, prelude="", check=False, **server.environment)
        (run,) = server.runs
        assert rows(run) == [(0, 0), (1, 1)], "the row with x=2 has not arrived"
        run_in(
            job.directory,
            [sys.executable, "-c", later([(3, 0.5), (4, 0.4)])],
            {**job_environment(job.directory, job.directory), **server.environment},
        )
        summary = run.summary

        (first, _) = find_run_files(job.directory)
        done = run_command(job.directory, "sync", str(first.parent), timeout=60, **server.environment)

    assert done.returncode == 0, done.stderr
    assert [x for _, x in rows(run)] == [0, 1, 3, 4, 2]
    assert run.destroyed_rows == []
    assert (run.state, run.exit_code) == ("finished", 0)
    assert run.summary["score"] == summary["score"] == {"max": 0.5}
    assert run.summary["x"] == 4
    assert run.values["lr"] == 0.2


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("count_lag", [0.0, 3.0])
def test_parts_of_an_offline_run_are_sent_in_their_order_whatever_the_order_given(
    run_job: RunJob, order: tuple[int, ...], count_lag: float
) -> None:
    with WandbServer() as server:
        server.backend.store.count_lag = count_lag
        job = run_job(later([(0, 0.1), (1, 0.9)], "offline", 1), prelude="")
        for part, code in (([(2, 0.3)], 1), ([(3, 0.2), (4, 0.2)], 0)):
            run_in(
                job.directory,
                [sys.executable, "-c", later(part, "offline", code)],
                {**job_environment(job.directory, job.directory), **server.environment},
            )
        folders = [file.parent for file in find_run_files(job.directory)]
        named = [str(folders[number]) for number in order]
        done = run_command(job.directory, "sync", *named, timeout=120, **server.environment)
        again = run_command(job.directory, "sync", named[0], timeout=120, **server.environment)

    assert (done.returncode, again.returncode) == (0, 0), done.stderr + again.stderr
    (run,) = server.runs
    assert [x for _, x in rows(run)] == [0, 1, 2, 3, 4]
    assert (run.state, run.exit_code) == ("finished", 0)
    assert run.summary["score"] == {"max": 0.9}


def test_artifacts_of_every_part_of_an_offline_run_are_sent(run_job: RunJob) -> None:
    script = """
import wandb
for number in range(2):
    with wandb.init(project="demo", id="abc", resume="allow", mode="offline") as run:
        run.log({"x": number})
        open("note.txt", "w").write(f"note {number}")
        artifact = wandb.Artifact(f"note-{number}", "note")
        artifact.add_file("note.txt")
        run.log_artifact(artifact)
"""
    with WandbServer() as server:
        job = run_job(script, prelude="")
        done = run_command(job.directory, "sync", ".", timeout=120, **server.environment)

    assert done.returncode == 0, done.stderr
    assert {artifact.name for artifact in server.backend.store.artifacts.values()} == {"note-0", "note-1"}


def test_any_one_part_leads_to_all_parts_of_the_run(run_job: RunJob) -> None:
    with WandbServer() as server:
        job = run_job(later([(0, 0.1)], "offline", 1), prelude="")
        run_in(
            job.directory,
            [sys.executable, "-c", later([(1, 0.2)], "offline")],
            {**job_environment(job.directory, job.directory), **server.environment},
        )
        newest = find_run_files(job.directory)[-1].parent
        done = run_command(job.directory, "sync", str(newest), timeout=120, **server.environment)

    assert done.returncode == 0, done.stderr
    assert [x for _, x in rows(server.runs[0])] == [0, 1]


def test_server_that_goes_away_while_a_part_is_sent_is_an_error_and_the_next_call_sends_the_rest(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_module, "OUTAGE_TIMEOUT", 2.0)
    monkeypatch.setattr(sync_module, "SERVER_POLL_INTERVAL", 1.0)
    monkeypatch.setattr(sync_module, "API_TIMEOUT", 2.0)
    folder = tmp_path / kept.name
    shutil.copytree(kept, folder, symlinks=True)
    with WandbServer() as server:
        for name, value in {**job_environment(tmp_path, tmp_path), **server.environment}.items():
            monkeypatch.setenv(name, value)
        started: list[Request] = []

        def is_down(request: Request) -> bool:
            if request.kind == "FileStream":
                started.append(request)
            return bool(started)

        server.faults.add("*", status=503, when=is_down)
        with pytest.raises(ServerError, match="503"):
            sync([folder])
        server.faults.clear()
        assert sync([folder]) == 0

    assert [row["x"] for row in server.runs[0].history] == [0, 1, 2]
