"""The W&B backend of the tests, as the real client meets it: what it keeps, and what goes wrong on request."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from wandb_server import StoredRun, WandbServer

from support.jobs import job_environment

PRELUDE = """\
import json, os, sys, time
import wandb

FAST = dict(x_disable_stats=True, console="off", x_file_stream_transmit_interval=1)  # in whole seconds
for what in ("x_file_stream", "x_graphql", "x_file_transfer"):
    FAST[what + "_retry_wait_min_seconds"] = FAST[what + "_retry_wait_max_seconds"] = 1

def start(id, settings={}, **given):
    return wandb.init(project="demo", id=id, settings=wandb.Settings(**FAST, **settings), **given)

"""


class Client:
    """Scripts of the real client in processes of their own."""

    def __init__(self, directory: Path, server: WandbServer) -> None:
        self.directory = directory
        self._environment = {**job_environment(directory, directory), **server.environment}

    def start(self, script: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", PRELUDE + textwrap.dedent(script)],
            cwd=self.directory,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, script: str) -> str:
        with self.start(script) as process:
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


LOG_THREE_ROWS = """\
with start("r", resume="allow") as run:
    for number in range(3):
        run.log({"a": number})
"""


# What is kept


def test_run_is_kept_as_its_client_described_it(server: WandbServer, client: Client) -> None:
    output = client.run("""\
given = dict(name="my name", group="g", job_type="train", tags=["x"], notes="n", config={"lr": 0.1})
with start("r", **given) as run:
    run.log({"a": 1})
    run.summary["best"] = 2
    open("notes.txt", "w").write("hello")
    run.save("notes.txt", policy="now")

api = wandb.Api()
seen = api.run("team/demo/r")
print(api.viewer.entity, seen.state, seen.name, seen.config, seen.summary["best"], seen.historyLineCount, seen.tags)
print([row["a"] for row in seen.history(pandas=False)], seen.heartbeat_at > seen.created_at)
try:
    api.run("team/demo/none")
except Exception as error:
    print(error)
""")

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
    client.run(LOG_THREE_ROWS + "with start('r', resume='must') as run:\n    run.log({'a': 'late'})\n")

    (run,) = server.runs
    assert values(run) == ["late", 1, 2]
    assert len(run.destroyed_rows) == 1
    assert run.sessions == 2


def test_resumed_run_goes_on_after_rows_that_are_counted(server: WandbServer, client: Client) -> None:
    client.run(
        LOG_THREE_ROWS
        + """\
with start("r", resume="must") as run:
    run.log({"a": "next"})
    run.config["b"] = 1
    os._exit(0) if wandb.Api().run("team/demo/r").state == "running" else print("not running")
"""
    )

    (run,) = server.runs
    assert values(run)[:3] == [0, 1, 2]
    assert run.destroyed_rows == []
    assert (run.state, run.exit_code, run.sessions) == ("running", None, 2)


def test_writers_in_shared_mode_keep_their_own_offsets(server: WandbServer, client: Client) -> None:
    script = """\
settings = dict(x_primary={primary}, x_update_finish_state={primary}, x_label="{primary}", mode="shared")
with start("r", settings) as run:
    for number in range(3):
        run.log({{"a": number, "primary": {primary}}})
"""
    client.run(script.format(primary=False))
    (run,) = server.runs
    assert (run.state, len(run.history)) == ("running", 3)

    client.run(script.format(primary=True))
    assert [(row["primary"], row["a"]) for row in run.history] == [(primary, a) for primary in (0, 1) for a in range(3)]
    assert run.destroyed_rows == []
    assert (run.state, run.sessions) == ("finished", 2)


def test_preempted_run_is_no_failed_run(server: WandbServer, client: Client) -> None:
    client.run("""\
run = start("r")
run.mark_preempting()
run.finish(exit_code=1)
start("s").finish(exit_code=1)
""")

    preempted, failed = server.runs
    assert (preempted.state, preempted.exit_code, preempted.preempting) == ("preempted", 1, True)
    assert (failed.state, failed.exit_code, failed.preempting) == ("failed", 1, False)


def test_all_that_arrived_can_be_searched(server: WandbServer, client: Client) -> None:
    client.run("with start('r', config={'token': 'my secret'}) as run:\n    run.log({'a': 1})\n")

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
    client.run(LOG_THREE_ROWS)

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


def test_lost_reply_leaves_no_duplicates(server: WandbServer, client: Client) -> None:
    lost = server.faults.add("FileStream", lose_reply=True, times=2)
    client.run(LOG_THREE_ROWS)

    (run,) = server.runs
    assert lost.count == 2
    assert values(run) == [0, 1, 2]


def test_delay_holds_up_its_own_request_only(server: WandbServer, client: Client) -> None:
    late = server.faults.add("UpsertBucket", delay=60.0, when=lambda request: request.run_id == "late")
    with client.start("start('late').finish()") as waiting:
        wait_for(lambda: late.count)
        client.run("start('r').finish()")
        late.remove()
        assert waiting.wait(20) == 0

    upsert = next(request for request in server.requests if request.run_id == "late")
    assert [run.id for run in server.runs] == ["r", "late"]
    assert upsert.status == 200


def test_hanging_server_is_given_up_on(server: WandbServer, client: Client) -> None:
    hung = server.faults.add("UpsertBucket", hang=True)
    output = client.run("""\
try:
    start("r", dict(init_timeout=1))
except wandb.Error as error:
    print(type(error).__name__)
os._exit(0)
""")

    assert output.endswith("CommError\n")
    assert hung.count == 1
    assert server.runs == []
    hung.remove()
    client.run(LOG_THREE_ROWS)
    assert len(server.runs) == 1


def test_unknown_key_is_refused(server: WandbServer, client: Client) -> None:
    server.api_keys = {"f" * 40}
    script = """\
try:
    start("r").finish()
except wandb.Error as error:
    print(type(error).__name__)
"""
    assert "CommError" in client.run(script)
    assert server.runs == []
    assert {request.status for request in server.requests} == {401}


def test_server_that_was_away_gets_all_rows(server: WandbServer, client: Client) -> None:
    script = """\
run = start("r")
run.log({"a": 0})
open("started", "w").close()
while not os.path.exists("down"): time.sleep(0.02)
run.log({"a": 1})
run.finish()
"""
    with client.start(script) as process:
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


def test_stop_button_reaches_the_client(server: WandbServer, client: Client) -> None:
    script = """\
from wandb.sdk.lib import run_stopping
run_stopping.RunStopChecker.__init__.__kwdefaults__["poll_interval"] = 0.2  # 15 seconds
stopped = []
run = start("r", dict(stop_fn=lambda: stopped.append(1)))
end = time.monotonic() + 20
while not stopped and time.monotonic() < end:
    run.log({"a": 1})
    time.sleep(0.05)
run.finish()
print("stopped:", bool(stopped))
"""
    with client.start(script) as process:
        wait_for(lambda: server.runs and server.runs[0].history)
        server.stop("r")
        output, _ = process.communicate(timeout=30)

    assert "stopped: True" in output


# Artifacts and sweeps


def test_artifact_comes_back_as_it_was_logged(server: WandbServer, client: Client, tmp_path: Path) -> None:
    (tmp_path / "referred.txt").write_text("elsewhere")
    client.run("""\
def make(text):
    artifact = wandb.Artifact("data", type="dataset", metadata={"rows": 1})
    with artifact.new_file("inside.txt") as file:
        file.write(text)
    artifact.add_reference("file://" + os.path.abspath("referred.txt"), name="outside.txt")
    return artifact

with start("maker") as run:
    first = run.log_artifact(make("one"), aliases=["best"]).wait()
    again = run.log_artifact(make("one")).wait()
    second = run.log_artifact(make("two"), aliases=["best"]).wait()
    assert [first.version, again.version, second.version] == ["v0", "v0", "v1"]

with start("user") as run:
    for name, text in (("data:best", "two"), ("data:v0", "one")):
        artifact = run.use_artifact(name)
        assert open(artifact.download() + "/inside.txt").read() == text
        assert open(artifact.get_entry("outside.txt").download()).read() == "elsewhere"
    assert run.use_artifact("data:best").metadata == {"rows": 1}
""")

    maker, user = server.runs
    first, second = maker.artifacts
    assert (first.version, second.version) == (0, 1)
    assert ("best" in first.aliases, "best" in second.aliases) == (False, True)
    assert second.manifest["outside.txt"]["ref"] == f"file://{tmp_path}/referred.txt"
    assert second.file("inside.txt") == b"two"
    assert user.used_artifacts == [second, first]


def test_sweep_hands_out_its_trials(server: WandbServer, client: Client) -> None:
    client.run("""\
from wandb.agents.pyagent import Agent
Agent.HEARTBEAT_SLEEP_SECONDS = 0.2

def trial():
    with wandb.init(settings=wandb.Settings(**FAST)) as run:
        run.log({"loss": run.config["lr"]})

lr = {"values": [0.1, 0.2]}
wandb.agent(wandb.sweep({"method": "grid", "parameters": {"lr": lr}}, project="demo"), trial, count=2)
wandb.agent(wandb.sweep({"method": "random", "parameters": {"lr": {"min": 0.0, "max": 1.0}}}), trial, count=1)
""")

    grid, chance = server.sweeps
    assert list(grid.trials.values()) == [{"lr": 0.1}, {"lr": 0.2}]
    first, second, third = server.runs
    assert [run.sweep for run in server.runs] == [grid.name, grid.name, chance.name]
    assert [first.values, second.values] == [{"lr": 0.1}, {"lr": 0.2}]
    assert values(third, "loss") == [chance.trials[third.id]["lr"]]
    assert {run.state for run in server.runs} == {"finished"}
