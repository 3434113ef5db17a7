"""Sending what is on disk and has not arrived, with the real client."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from wandb_server import WandbServer
from wandb_server.faults import Request
from wandb_server.store import StoredRun

from support.jobs import NIGHTLY, Job, RunJob, job_environment, run_command, run_in, scenario_environment
from support.paths import SCENARIOS
from ultralytics_wb_ddp.tools import sync as sync_module
from ultralytics_wb_ddp.tools.sync import sync
from ultralytics_wb_ddp.wandb_client.run_file import HEADER_SIZE, decode_records, encode_records, find_run_files
from ultralytics_wb_ddp.wandb_client.server import ServerError

SCENARIO = "sessions_on_disk.py"


def rows(run: StoredRun) -> list[tuple[int, int]]:
    return [(row["_step"], row["x"]) for row in run.history]


@NIGHTLY
def test_rows_that_have_arrived_are_not_sent_again(run_job: RunJob) -> None:
    with WandbServer() as server:
        job = run_job(SCENARIO, "be_cut_off", "0", check=False, **server.environment)
        (run,) = server.runs
        assert rows(run) == [(0, 0), (1, 1)]

        (file,) = find_run_files(job.directory)
        done = run_command(job.directory, "sync", str(file.parent), timeout=60, **server.environment)

    assert done.returncode == 0, done.stderr
    assert rows(run) == [(0, 0), (1, 1), (2, 2)]
    assert run.destroyed_rows == []
    assert run.state == "failed"
    assert run.file(run.history[0]["image"]["path"])


@NIGHTLY
def test_session_that_continued_the_run_goes_on_where_it_was_cut_off(run_job: RunJob) -> None:
    with WandbServer() as server:
        run_job(SCENARIO, "log_one_row", **server.environment)
        job = run_job(SCENARIO, "be_cut_off", "1", "must", check=False, **server.environment)
        (file,) = find_run_files(job.directory)
        done = run_command(job.directory, "sync", str(file.parent), timeout=60, **server.environment)

    assert done.returncode == 0, done.stderr
    assert rows(server.runs[0]) == [(0, 0), (1, 1), (2, 2), (3, 3)]


@NIGHTLY
def test_session_of_which_nothing_has_arrived_is_sent_whole(run_job: RunJob) -> None:
    with WandbServer() as server, WandbServer() as other:
        job = run_job(SCENARIO, "be_cut_off", "0", check=False, **server.environment)
        (file,) = find_run_files(job.directory)
        run_command(job.directory, "sync", str(file.parent), timeout=60, **other.environment)

    assert rows(other.runs[0]) == [(0, 0), (1, 1), (2, 2)]


@NIGHTLY
def test_server_that_is_away_is_an_error_and_nothing_is_marked_as_sent(run_job: RunJob) -> None:
    with WandbServer() as server:
        job = run_job(SCENARIO, "be_cut_off", "0", check=False, **server.environment)
    (file,) = find_run_files(job.directory)
    done = run_command(job.directory, "sync", str(file.parent), timeout=60, **server.environment)

    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr
    assert list(file.parent.glob("*.synced")) == []


# What the server does not take


@pytest.fixture(scope="module")
def kept(run_job: RunJob) -> Path:
    """The folder of a session that was written offline."""
    return run_job(SCENARIO, "log_all_that_there_is").run.path.parent


def send(kept: Path, server: WandbServer, directory: Path) -> subprocess.CompletedProcess[str]:
    """Send a copy of the session, called ``offline-run-...`` as it was."""
    folder = directory / kept.name
    shutil.copytree(kept, folder, symlinks=True)
    return run_command(directory, "sync", str(folder), timeout=400, **server.environment)


@NIGHTLY
@pytest.mark.parametrize("count_lag", [0.0, 4.0])
def test_part_that_has_arrived_is_marked_as_sent_and_not_sent_twice(
    kept: Path, tmp_path: Path, count_lag: float
) -> None:
    with WandbServer() as server:
        server.backend.store.count_lag = count_lag
        done = send(kept, server, tmp_path)
        again = run_command(tmp_path, "sync", str(tmp_path / kept.name), timeout=400, **server.environment)

    assert (done.returncode, again.returncode) == (0, 0), done.stderr + again.stderr
    assert "was sent before" in again.stderr
    assert [row["x"] for row in server.runs[0].history] == [0, 1, 2]
    assert (server.runs[0].state, server.runs[0].exit_code) == ("failed", 2)
    assert len(list((tmp_path / kept.name).glob("*.synced"))) == 1


@pytest.mark.parametrize(
    ("kind", "fault", "missing"),
    [
        pytest.param("UpsertBucket", {"status": 403}, "the run itself", marks=NIGHTLY),
        pytest.param("UpsertBucket", {"status": 400}, "the run itself", marks=NIGHTLY),
        pytest.param("UpsertBucket", {"status": 404}, "the run itself", marks=NIGHTLY),
        pytest.param("FileStream", {"status": 404}, "3 of 3 rows, the run's end", marks=NIGHTLY),
        pytest.param("Upload", {"status": 403}, "note.txt", marks=NIGHTLY),
        ("CreateArtifact", {"status": 400}, "artifact weights, input images"),
        pytest.param("UseArtifact", {"status": 400}, "input images", marks=NIGHTLY),
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
        again = run_command(tmp_path, "sync", str(tmp_path / kept.name), timeout=400, **server.environment)

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


@NIGHTLY
def test_mark_of_wandbs_own_does_not_keep_a_part_that_has_not_arrived(kept: Path, tmp_path: Path) -> None:
    with WandbServer() as server:
        (tmp_path / kept.name).mkdir()
        shutil.copytree(kept, tmp_path / kept.name, symlinks=True, dirs_exist_ok=True)
        (tmp_path / kept.name / "run-abc.wandb.synced").touch()
        done = run_command(tmp_path, "sync", str(tmp_path / kept.name), timeout=400, **server.environment)

    assert done.returncode == 0, done.stderr
    assert len(server.runs[0].history) == 3


@NIGHTLY
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


@NIGHTLY
def test_file_of_a_run_is_packed_as_wandb_packs_it(run_job: RunJob) -> None:
    run = run_job(SCENARIO, "log_long_text").run
    content = run.path.read_bytes()

    assert encode_records(content[:HEADER_SIZE], decode_records(content, run.path)) == content


# Several sessions of one run


Rows = list[tuple[int, float]]


def words(rows: Rows, mode: str = "online", code: int = 0) -> tuple[str, ...]:
    """Return what the command line of a session that goes on says."""
    return ("go_on", json.dumps(rows), mode, str(code))


def go_on(job: Job, rows: Rows, server: WandbServer, mode: str = "online", code: int = 0) -> None:
    """Log further rows, in the directory of the job."""
    environment = scenario_environment(job.directory, job.directory, server.environment)
    run_in(job.directory, [sys.executable, str(SCENARIOS / SCENARIO), *words(rows, mode, code)], environment)


def test_rows_of_a_killed_session_are_sent_after_a_later_session_has_ended_the_run(run_job: RunJob) -> None:
    with WandbServer() as server:
        job = run_job(SCENARIO, "be_cut_off", "0", check=False, **server.environment)
        (run,) = server.runs
        assert rows(run) == [(0, 0), (1, 1)], "the row with x=2 has not arrived"
        go_on(job, [(3, 0.5), (4, 0.4)], server)
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


@NIGHTLY
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("count_lag", [0.0, 3.0])
def test_parts_of_an_offline_run_are_sent_in_their_order_whatever_the_order_given(
    run_job: RunJob, order: tuple[int, ...], count_lag: float
) -> None:
    with WandbServer() as server:
        server.backend.store.count_lag = count_lag
        job = run_job(SCENARIO, *words([(0, 0.1), (1, 0.9)], "offline", 1))
        for part, code in (([(2, 0.3)], 1), ([(3, 0.2), (4, 0.2)], 0)):
            go_on(job, part, server, "offline", code)
        folders = [file.parent for file in find_run_files(job.directory)]
        named = [str(folders[number]) for number in order]
        done = run_command(job.directory, "sync", *named, timeout=400, **server.environment)
        again = run_command(job.directory, "sync", named[0], timeout=400, **server.environment)

    assert (done.returncode, again.returncode) == (0, 0), done.stderr + again.stderr
    (run,) = server.runs
    assert [x for _, x in rows(run)] == [0, 1, 2, 3, 4]
    assert (run.state, run.exit_code) == ("finished", 0)
    assert run.summary["score"] == {"max": 0.9}


@NIGHTLY
def test_artifacts_of_every_part_of_an_offline_run_are_sent(run_job: RunJob) -> None:
    with WandbServer() as server:
        job = run_job(SCENARIO, "log_artifacts_in_two_sessions")
        done = run_command(job.directory, "sync", ".", timeout=400, **server.environment)

    assert done.returncode == 0, done.stderr
    assert {artifact.name for artifact in server.backend.store.artifacts.values()} == {"note-0", "note-1"}


@NIGHTLY
def test_any_one_part_leads_to_all_parts_of_the_run(run_job: RunJob) -> None:
    with WandbServer() as server:
        job = run_job(SCENARIO, *words([(0, 0.1)], "offline", 1))
        go_on(job, [(1, 0.2)], server, "offline")
        newest = find_run_files(job.directory)[-1].parent
        done = run_command(job.directory, "sync", str(newest), timeout=400, **server.environment)

    assert done.returncode == 0, done.stderr
    assert [x for _, x in rows(server.runs[0])] == [0, 1]


@NIGHTLY
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
