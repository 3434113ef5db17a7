"""The W&B backend of the tests, as the real client meets it: what it keeps, and what goes wrong on request."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from wandb_server import StoredRun, WandbServer

from support.jobs import NIGHTLY, scenario_environment
from support.paths import SCENARIOS


class Client:
    """Sessions of the real client in processes of their own."""

    def __init__(self, directory: Path, server: WandbServer) -> None:
        self.directory = directory
        self._environment = scenario_environment(directory, directory, server.environment)

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(SCENARIOS / "wandb_sessions.py"), *words],
            cwd=self.directory,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *words: str) -> str:
        with self.start(*words) as process:
            try:
                output, _ = process.communicate(timeout=60)
            finally:
                process.kill()
        assert process.returncode == 0, output
        return output


@pytest.fixture
def server() -> Iterator[WandbServer]:
    with WandbServer() as server:
        yield server


@pytest.fixture
def client(server: WandbServer, tmp_path: Path) -> Client:
    return Client(tmp_path, server)


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def values(run: StoredRun, key: str = "a") -> list[object]:
    return [row.get(key) for row in run.history]


# What is kept


def test_run_is_kept_as_its_client_described_it(server: WandbServer, client: Client) -> None:
    output = client.run("describe_and_read_back")

    (run,) = server.runs
    assert (run.id, run.project, run.entity, run.sessions) == ("r", "demo", "team", 1)
    assert run.fields == {
        "displayName": "my name",
        "groupName": "g",
        "jobType": "train",
        "tags": ["x"],
        "notes": "n",
    }
    assert (run.values, values(run), run.summary["best"]) == ({"lr": 0.1}, [1], 2)
    assert (run.state, run.exit_code) == ("finished", 0)
    assert run.file("notes.txt") == b"hello"
    assert "config.yaml" in run.files
    assert "team finished my name {'lr': 0.1} 2 1 ['x']\n[1] True" in output
    assert "Could not find run" in output


def test_row_at_an_offset_that_is_taken_destroys_the_row_there(server: WandbServer, client: Client) -> None:
    server.backend.count_lag = 60.0  # the second session is told that there are no rows yet
    client.run("log_over_rows")

    (run,) = server.runs
    assert values(run) == ["late", 1, 2]
    assert len(run.destroyed_rows) == 1
    assert run.sessions == 2


@NIGHTLY
def test_resumed_run_goes_on_after_rows_that_are_counted(server: WandbServer, client: Client) -> None:
    client.run("resume_and_vanish")

    (run,) = server.runs
    assert values(run)[:3] == [0, 1, 2]
    assert run.destroyed_rows == []
    assert (run.state, run.exit_code, run.sessions) == ("running", None, 2)


@NIGHTLY
def test_writers_in_shared_mode_keep_their_own_offsets(server: WandbServer, client: Client) -> None:
    client.run("write_in_shared_mode", "other")
    (run,) = server.runs
    assert (run.state, len(run.history)) == ("running", 3)

    client.run("write_in_shared_mode", "primary")
    assert [(row["primary"], row["a"]) for row in run.history] == [(primary, a) for primary in (0, 1) for a in range(3)]
    assert run.destroyed_rows == []
    assert (run.state, run.sessions) == ("finished", 2)


@NIGHTLY
def test_preempted_run_is_no_failed_run(server: WandbServer, client: Client) -> None:
    client.run("be_preempted_and_fail")

    preempted, failed = server.runs
    assert (preempted.state, preempted.exit_code, preempted.preempting) == ("preempted", 1, True)
    assert (failed.state, failed.exit_code, failed.preempting) == ("failed", 1, False)


@NIGHTLY
def test_all_that_arrived_can_be_searched(server: WandbServer, client: Client) -> None:
    client.run("log_a_token")

    assert any(b"my secret" in each for each in server.received)
    assert not any(b"Authorization" in each for each in server.received)
    upsert = next(request for request in server.requests if request.kind == "UpsertBucket")
    assert (upsert.run_id, upsert.status) == ("r", 200)
    assert upsert.body_size == len(upsert.body) > 0
    assert server.count("GraphQL") + server.count("FileStream") + server.count("Upload") == server.count("*")
    assert [request.arrived for request in server.requests] == sorted(request.arrived for request in server.requests)


# What goes wrong


def test_client_repeats_what_was_refused_cut_or_not_answered(server: WandbServer, client: Client) -> None:
    refused = server.faults.add("UpsertBucket", status=503, times=2)
    cut = server.faults.add("CreateRunFiles", cut=True, times=1)
    upload = server.faults.add("Upload", status=500, times=1)
    late = server.faults.add("FileStream", delay=0.5, times=1)
    lost = server.faults.add("FileStream", lose_reply=True, times=1, when=lambda request: b'\\"a\\"' in request.body)
    client.run("log_three_rows")

    (run,) = server.runs
    assert [fault.count for fault in (refused, cut, upload, late, lost)] == [2, 1, 1, 1, 1]
    assert values(run) == [0, 1, 2]
    assert run.destroyed_rows == []
    assert (run.state, run.sessions) == ("finished", 1)
    statuses = [request.status for request in server.requests if request.kind == "UpsertBucket"]
    assert statuses[:3] == [503, 503, 200]


def test_client_that_asks_too_often_is_told_when_to_try_again(server: WandbServer) -> None:
    server.faults.add("*", status=429, retry_after=3)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(server.url)

    assert (refused.value.code, refused.value.headers["Retry-After"]) == (429, "3")


@NIGHTLY
def test_lost_reply_leaves_no_duplicates(server: WandbServer, client: Client) -> None:
    lost = server.faults.add("FileStream", lose_reply=True, times=2)
    client.run("log_three_rows")

    (run,) = server.runs
    assert lost.count == 2
    assert values(run) == [0, 1, 2]


@NIGHTLY
def test_delay_holds_up_its_own_request_only(server: WandbServer, client: Client) -> None:
    late = server.faults.add("UpsertBucket", delay=60.0, when=lambda request: request.run_id == "late")
    with client.start("start_and_finish", "late") as waiting:
        wait_for(lambda: late.count)
        client.run("start_and_finish", "r")
        late.remove()
        assert waiting.wait(20) == 0

    upsert = next(request for request in server.requests if request.run_id == "late")
    assert [run.id for run in server.runs] == ["r", "late"]
    assert upsert.status == 200


@NIGHTLY
def test_hanging_server_is_given_up_on(server: WandbServer, client: Client) -> None:
    hung = server.faults.add("UpsertBucket", hang=True)
    output = client.run("try_to_start", "1")

    assert output.endswith("CommError\n")
    assert hung.count == 1
    assert server.runs == []
    hung.remove()
    client.run("log_three_rows")
    assert len(server.runs) == 1


@NIGHTLY
def test_unknown_key_is_refused(server: WandbServer, client: Client) -> None:
    server.api_keys = {"f" * 40}
    assert "CommError" in client.run("try_to_start", "90")
    assert server.runs == []
    assert {request.status for request in server.requests} == {401}


@NIGHTLY
def test_server_that_was_away_gets_all_rows(server: WandbServer, client: Client) -> None:
    with client.start("log_before_and_after", "down") as process:
        wait_for(lambda: server.runs and server.runs[0].history)
        server.down()
        (client.directory / "down").touch()
        time.sleep(1.0)
        assert process.poll() is None
        server.up()
        assert process.wait(30) == 0

    (run,) = server.runs
    assert values(run) == [0, 1]
    assert run.state == "finished"


@NIGHTLY
def test_stop_button_reaches_the_client(server: WandbServer, client: Client) -> None:
    with client.start("log_until_stopped") as process:
        wait_for(lambda: server.runs and server.runs[0].history)
        server.stop("r")
        output, _ = process.communicate(timeout=30)

    assert "stopped: True" in output


# Artifacts and sweeps


def test_artifact_comes_back_as_it_was_logged(server: WandbServer, client: Client, tmp_path: Path) -> None:
    (tmp_path / "referred.txt").write_text("elsewhere")
    client.run("log_and_use_artifacts")

    maker, user = server.runs
    first, second = maker.artifacts
    assert (first.version, second.version) == (0, 1)
    assert ("best" in first.aliases, "best" in second.aliases) == (False, True)
    assert second.manifest["outside.txt"]["ref"] == f"file://{tmp_path}/referred.txt"
    assert second.file("inside.txt") == b"two"
    assert user.used_artifacts == [second, first]


@NIGHTLY
def test_sweep_hands_out_its_trials(server: WandbServer, client: Client) -> None:
    client.run("run_sweeps")

    grid, chance = server.sweeps
    assert list(grid.trials.values()) == [{"lr": 0.1}, {"lr": 0.2}]
    first, second, third = server.runs
    assert [run.sweep for run in server.runs] == [grid.name, grid.name, chance.name]
    assert [first.values, second.values] == [{"lr": 0.1}, {"lr": 0.2}]
    assert values(third, "loss") == [chance.trials[third.id]["lr"]]
    assert {run.state for run in server.runs} == {"finished"}
