"""The doctor asks a server, on loopback, and as a command looks at the machine."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from wandb_server import WandbServer

from support.doctor import KEY, Answer, Doctor, doctor_in
from support.jobs import NIGHTLY, run_command
from support.releases import PATHS
from ultralytics_wb_ddp.config.options import WandbConfig
from ultralytics_wb_ddp.doctor.finding import DoctorRequest
from ultralytics_wb_ddp.doctor.plan import make_forecast
from ultralytics_wb_ddp.doctor.server_checks import check_server

WRONG_KEY = "f" * 40


HALF_MINUTE = 30  # seconds


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Doctor]:
    with doctor_in(monkeypatch, tmp_path) as doctor:
        yield doctor


def test_everything_in_order_online(tmp_path: Path) -> None:
    with WandbServer() as server:
        done = run_command(tmp_path, "doctor", "--project", "demo", timeout=400, **server.environment)
        asked = {request.kind for request in server.requests}
        runs = server.runs

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert done.stdout.splitlines()[0] == "What will happen"
    words = " ".join(done.stdout.split())
    assert "a new one is created" in words
    assert "one process, which logs" in words
    assert "key found in WANDB_API_KEY" in words
    assert "team/demo does not exist yet; the run creates it" in words
    assert done.stdout.splitlines()[-1] == "everything is in order"
    assert len(done.stdout.splitlines()) <= 25, "it fits a screen"
    assert KEY not in done.stdout
    assert (runs, "UpsertBucket" in asked) == ([], False)
    assert list((tmp_path / "home").iterdir()) == []
    assert not (tmp_path / "wandb").exists()


def test_no_key_is_an_error_online(doctor: Doctor) -> None:
    with WandbServer() as server:
        answer = doctor.ask(**{**server.environment, "WANDB_API_KEY": ""})

    assert answer.exit_code == 1
    assert list(answer.of("error")) == ["key"]
    assert f"wandb login --host {server.url}" in answer.of("error")["key"]


def test_wrong_key_is_refused(doctor: Doctor) -> None:
    with WandbServer() as server:
        answer = doctor.ask(**{**server.environment, "WANDB_API_KEY": WRONG_KEY})

    assert answer.exit_code == 1
    assert list(answer.of("error")) == ["key"]
    assert "refuses the key with status 401" in answer.of("error")["key"]
    assert "correct WANDB_API_KEY, or unset it and call: wandb login" in answer.of("error")["key"]
    assert WRONG_KEY not in answer.output


@pytest.mark.timeout(HALF_MINUTE)
def test_nothing_listens(doctor: Doctor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    answer = doctor.ask(WANDB_BASE_URL=url, WANDB_API_KEY=KEY, WANDB_MODE="online")

    assert answer.exit_code == 1
    assert f"{url} cannot be reached: Connection refused" in answer.of("error")["server"]


def test_key_of_netrc_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with WandbServer() as server:
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        (tmp_path / "netrc").write_text(f"machine {server.url.removeprefix('http://')}\n login user\n password {KEY}\n")
        found = ask_server(monkeypatch, server.url, key="")

    assert found["key"] == ("ok", "found in netrc -> ")
    assert found["server"][0] == "ok"


def test_key_of_the_config_comes_first_and_one_that_is_too_short_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with WandbServer() as server:
        status, text = ask_server(monkeypatch, server.url, api_key="short")["key"]

    assert status == "error"
    assert "cfg.wandb.api_key has 5 characters" in text


@pytest.mark.timeout(HALF_MINUTE)
@pytest.mark.parametrize(
    ("fault", "words"), [({"status": 500}, "answers with status 500"), ({"hang": True}, "does not answer within 1 s")]
)
def test_server_in_trouble_is_told_in_time(monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any], words: str) -> None:
    with WandbServer() as server:
        server.faults.add("*", **fault)
        status, text = ask_server(monkeypatch, server.url)["server"]

    assert status == "error"
    assert words in text
    assert "WANDB_MODE=offline" in text


def test_run_that_is_named_but_not_there_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with WandbServer() as server:
        status, text = ask_server(monkeypatch, server.url, id="gone")["run"]

    assert status == "warning"
    assert text.startswith("run not found: team/demo/gone; a new run of this id is created")


def test_run_that_another_process_has_left_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    record = {"version": 2, "run_id": "gone", "state": "closed", "host": "launcher", "mode": "online"}
    handoff = {"WANDB_RUN_ID": "gone", "WANDB_PROJECT": "demo", "ULTRALYTICS_WB_DDP": json.dumps(record)}
    with WandbServer() as server:
        status, text = ask_server(monkeypatch, server.url, env=handoff)["run"]

    assert status == "error"
    assert text.startswith("run not found: team/demo/gone")


def test_run_that_is_open_elsewhere_is_told_with_its_last_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    with WandbServer() as server:
        open_run(server, "busy")
        found = ask_server(monkeypatch, server.url, id="busy")

    assert found["run"][0] == "warning"
    assert "run still open elsewhere: team/demo/busy is running, last heard of 0 s ago" in found["run"][1]
    assert found["project"] == ("ok", "team/demo exists -> ")


def test_run_that_is_finished_can_be_continued(monkeypatch: pytest.MonkeyPatch) -> None:
    with WandbServer() as server:
        open_run(server, "done")
        server.backend.runs["done"].state = "finished"
        found = ask_server(monkeypatch, server.url, id="done")

    assert found["run"] == ("ok", "team/demo/done exists; it is finished -> ")


def open_run(server: WandbServer, run_id: str) -> None:
    given = {"name": run_id, "project": "demo", "entity": "team"}
    server.backend.answer("UpsertBucket", {**given, "input": given})


def ask_server(
    monkeypatch: pytest.MonkeyPatch, url: str, *, key: str = KEY, env: dict[str, str] | None = None, **options: str
) -> dict[str, tuple[str, str]]:
    """Return status and text by check, of what is asked in this process."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name, value in {"WANDB_API_KEY": key, **(env or {})}.items():
        monkeypatch.setenv(name, value)
    settings = wandb.Settings(base_url=url, mode="online")
    request = DoctorRequest(WandbConfig.parse({"project": "demo", **options}, "options"), timeout=1)
    findings = check_server(request, make_forecast(request, settings), settings)
    return {finding.check: (finding.status, f"{finding.message} -> {finding.remedy}") for finding in findings}


@NIGHTLY
def test_command_tells_all_that_is_wrong_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "cloudpickle.py").write_text("raise ImportError('half installed')")

    command = ["doctor", "--json", "--dir", str(tmp_path / "file" / "x")]
    paths = os.pathsep.join([str(tmp_path / "packages"), *PATHS])
    done = run_command(tmp_path, *command, timeout=400, PYTHONPATH=paths)
    answer = Answer.read(done.returncode, done.stdout)

    assert answer.exit_code == 1
    errors = answer.of("error")
    assert f"because {tmp_path / 'file'} is a file" in errors["directory"]
    assert "ImportError: half installed -> pip install 'cloudpickle'" in errors["cloudpickle"]
    assert list((tmp_path / "home").iterdir()) == []
