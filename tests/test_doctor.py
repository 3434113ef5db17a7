"""The doctor: the real command, against a W&B backend on loopback where it asks one, and on run files of the client."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import wandb
from click.testing import CliRunner
from wandb_server import WandbServer

from support.jobs import job_environment, run_command
from ultralytics_wb_ddp.cli.main import main
from ultralytics_wb_ddp.config.options import WandbConfig
from ultralytics_wb_ddp.doctor.environment_checks import check_leftovers
from ultralytics_wb_ddp.doctor.finding import CheckResult, DoctorRequest
from ultralytics_wb_ddp.doctor.machine_checks import check_gpus
from ultralytics_wb_ddp.doctor.past_training_checks import check_training
from ultralytics_wb_ddp.doctor.plan import make_forecast
from ultralytics_wb_ddp.doctor.report import print_report
from ultralytics_wb_ddp.doctor.server_checks import check_server
from ultralytics_wb_ddp.utils.versions import version_of

KEY = "0123456789abcdef0123456789abcdef01234567"
WRONG_KEY = "f" * 40
HALF_MINUTE = 30


@dataclass
class Answer:
    """What the command answered with ``--json``."""

    exit_code: int
    plan: dict[str, Any]
    checks: list[dict[str, str]]
    output: str
    seconds: float

    def of(self, status: str) -> dict[str, str]:
        """Messages with their remedies, by check, of the findings of one status."""
        found: dict[str, str] = {}
        for check in self.checks:
            if check["status"] == status:
                found[check["check"]] = (
                    f"{found.get(check['check'], '')} {check['message']} -> {check['remedy']}".strip()
                )
        return found


def run_doctor(directory: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return run_command(directory, "doctor", *arguments, timeout=120, **env)


def ask_doctor(directory: Path, *arguments: str, **env: str) -> Answer:
    start = time.monotonic()
    done = run_doctor(directory, "--json", *arguments, **env)
    seconds = time.monotonic() - start
    content = json.loads(done.stdout)
    assert content["ok"] == (done.returncode == 0), done.stderr
    return Answer(done.returncode, content["plan"], content["checks"], done.stdout + done.stderr, seconds)


# What will happen


def test_everything_in_order_online(tmp_path: Path) -> None:
    with WandbServer() as server:
        done = run_doctor(tmp_path, "--project", "demo", **server.environment)
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
    assert not (tmp_path / "wandb").exists()


def test_plan_says_which_run_which_ranks_which_mode(tmp_path: Path) -> None:
    answer = ask_doctor(tmp_path, "--project", "demo", "--entity", "team", "--id", "abc", "--device", "[0, 1, 2, 3]")

    assert answer.exit_code == 0
    expected = {"action": "resume", "run_id": "abc", "project": "demo", "entity": "team", "mode": "offline"}
    assert {key: answer.plan[key] for key in expected} == expected
    assert (answer.plan["processes"], answer.plan["logging_ranks"]) == (4, [0])
    assert "artifact run_abc_model" in " ".join(answer.plan["uploads"])
    assert "asks for 4" in {**answer.of("warning"), **answer.of("ok")}["GPUs"]


def test_config_file_is_read_as_a_manager_reads_it_and_the_command_line_wins(tmp_path: Path) -> None:
    config = tmp_path / "job.yaml"
    config.write_text(f"wandb: {{project: from-file, entity: team, mode: online, dir: out, api_key: {KEY}}}")

    answer = ask_doctor(tmp_path, "--config", "job.yaml", "--project", "from-options", "--mode", "offline")

    assert answer.exit_code == 0
    assert (answer.plan["project"], answer.plan["entity"], answer.plan["mode"]) == ("from-options", "team", "offline")
    assert answer.plan["directory"] == str(tmp_path / "out" / "wandb")
    assert KEY not in answer.output


def test_job_is_read_with_its_devices_and_no_script_is_expected(tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text("wandb: {project: demo, mode: offline, name: '${name}'}\ntrain: {device: [0, 1]}")
    command = ["doctor", "--config", str(job)]

    told = " ".join(CliRunner().invoke(main, command).output.split())
    with_option = " ".join(CliRunner().invoke(main, [*command, "--device", "0,1,2"]).output.split())

    assert "2 processes; only rank 0 logs" in told
    assert "asks for 2" in told or "2 asked for" in told
    assert "a new one is created project" in told
    assert "3 processes; only rank 0 logs" in with_option


def test_script_of_a_config_without_a_job_may_make_the_run(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("wandb: {project: demo, mode: offline}")

    output = CliRunner().invoke(main, ["doctor", "--config", str(config)]).output

    assert "a new one is created, unless the script creates one" in " ".join(output.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--project", "a/b"], "W&B refuses / in a project's name"),
        (["--id", "a:b"], "W&B refuses : in a run id"),
        (["--config", "wrong.yaml"], "did you mean 'project'?"),
        (
            ["--config", "broken.yaml"],
            "line 3 cannot be read (found unexpected end of stream for what begins in line 2)",
        ),
    ],
)
def test_wrong_options_are_an_error_that_shows_no_key(tmp_path: Path, arguments: list[str], words: str) -> None:
    (tmp_path / "wrong.yaml").write_text("wandb: {project: demo, projct: demo}")
    (tmp_path / "broken.yaml").write_text(f"wandb:\n  api_key: '{KEY}\n")
    if arguments[0] == "--config":
        arguments = ["--config", str(tmp_path / arguments[1])]

    result = CliRunner().invoke(main, ["doctor", *arguments])

    assert result.exit_code == 1
    assert words in " ".join(result.output.split())
    assert KEY not in result.output


# Key and server


def test_no_key_is_an_error_online(tmp_path: Path) -> None:
    with WandbServer() as server:
        answer = ask_doctor(tmp_path, **{**server.environment, "WANDB_API_KEY": ""})

    assert answer.exit_code == 1
    assert list(answer.of("error")) == ["key"]
    assert f"wandb login --host {server.url}" in answer.of("error")["key"]


def test_wrong_key_is_refused(tmp_path: Path) -> None:
    with WandbServer() as server:
        answer = ask_doctor(tmp_path, **{**server.environment, "WANDB_API_KEY": WRONG_KEY})

    assert answer.exit_code == 1
    assert list(answer.of("error")) == ["key"]
    assert "refuses the key with status 401" in answer.of("error")["key"]
    assert "correct WANDB_API_KEY, or unset it and call: wandb login" in answer.of("error")["key"]
    assert WRONG_KEY not in answer.output


def test_nothing_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    answer = ask_doctor(tmp_path, WANDB_BASE_URL=url, WANDB_API_KEY=KEY, WANDB_MODE="online")

    assert answer.exit_code == 1
    assert f"{url} cannot be reached: Connection refused" in answer.of("error")["server"]
    assert answer.seconds < HALF_MINUTE


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


@pytest.mark.parametrize(
    ("fault", "words"), [({"status": 500}, "answers with status 500"), ({"hang": True}, "does not answer within 1 s")]
)
def test_server_in_trouble_is_told_in_time(monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any], words: str) -> None:
    start = time.monotonic()
    with WandbServer() as server:
        server.faults.add("*", **fault)
        status, text = ask_server(monkeypatch, server.url)["server"]

    assert status == "error"
    assert words in text
    assert "WANDB_MODE=offline" in text
    assert time.monotonic() - start < HALF_MINUTE


# Run not found, run still open elsewhere


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


@pytest.mark.parametrize(
    ("run_mode", "mode", "told"),
    [
        ("auto", "offline", "4 processes; only rank 0 logs"),
        ("new", "offline", "4 processes; each rank logs, into a run of its own in one group"),
        ("shared", "online", "4 processes; each rank logs into the one run, which they share"),
        ("shared", "offline", "none: run_mode='shared' with mode='offline': W&B's shared mode needs its server"),
    ],
)
def test_plan_says_which_ranks_log(run_mode: str, mode: str, told: str) -> None:
    request = DoctorRequest(WandbConfig(project="demo", mode=mode, run_mode=run_mode), device="0,1,2,3")

    assert told in " | ".join(text for _, text in make_forecast(request, wandb.Settings()).lines())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "the best checkpoint (artifact run_<id>_model, as large as the model)"),
        ({"checkpoints": "best+last"}, "the best and the last checkpoint (artifact run_<id>_model, as large as the"),
        (
            {"checkpoint_store": "s3://bucket/runs"},
            "the best checkpoint (artifact run_<id>_model, in s3://bucket/runs)",
        ),
        ({"checkpoints": "none"}, None),
    ],
)
def test_plan_says_which_checkpoints_the_run_holds(options: dict[str, str], told: str | None) -> None:
    request = DoctorRequest(WandbConfig(project="demo", mode="offline", **options))

    holds = " | ".join(make_forecast(request, wandb.Settings()).uploads)
    assert told in holds if told else "checkpoint" not in holds


# What is left over in the environment


def leftovers(**env: str) -> list[tuple[str, str]]:
    findings = check_leftovers(DoctorRequest(WandbConfig()), env)
    return [(finding.status, f"{finding.message} -> {finding.remedy}") for finding in findings]


def test_leftover_run_id_is_named_with_its_effect(tmp_path: Path) -> None:
    answer = ask_doctor(tmp_path, WANDB_RUN_ID="old-run", WANDB_MODE="offline")

    assert answer.exit_code == 0
    assert (answer.plan["action"], answer.plan["run_id"]) == ("resume", "old-run")
    assert "WANDB_RUN_ID=old-run: the training continues this run" in answer.of("warning")["environment"]
    assert "unset WANDB_RUN_ID" in answer.of("warning")["environment"]


def test_leftover_run_id_beside_another_id_says_who_continues_which() -> None:
    (finding,) = check_leftovers(DoctorRequest(WandbConfig(id="xyz")), {"WANDB_RUN_ID": "abc", "WANDB_PROJECT": "demo"})

    assert finding.status == "warning"
    assert finding.message == (
        "WANDB_RUN_ID=abc and the id xyz are two runs: a manager continues xyz, and a callback without a manager abc"
    )


def test_damaged_handoff_is_an_error_in_every_output(tmp_path: Path) -> None:
    env = {"WANDB_RUN_ID": "old", "ULTRALYTICS_WB_DDP": "{nonsense"}

    done = run_doctor(tmp_path, "--project", "demo", **env)

    assert done.returncode == 1
    words = " ".join(done.stdout.split())
    assert "ULTRALYTICS_WB_DDP='{nonsense' is not JSON" in words
    assert "-> unset ULTRALYTICS_WB_DDP" in words
    assert "1 error" in done.stdout.splitlines()[-1]


def test_nothing_left_over() -> None:
    assert leftovers(HOME="/home/user", WANDB_PROJECT="demo") == [("ok", "nothing is left over from another job -> ")]


@pytest.mark.parametrize(
    ("env", "status", "words"),
    [
        ({"WANDB_SERVICE": "3-999999999-unix-/nowhere"}, "error", "gone: wandb.init in the script fails"),
        ({"WANDB_SERVICE": "3-1-tcp-localhost-1"}, "warning", "with process 1"),  # it is always there
        ({"RANK": "1", "WORLD_SIZE": "2"}, "error", "does not log, so there is no run -> unset RANK WORLD_SIZE"),
        ({"RANK": "0", "LOCAL_RANK": "0"}, "warning", "a worker of torchrun -> unset RANK LOCAL_RANK"),
        ({"RANK": "one"}, "error", "RANK='one' is no integer"),
        ({"WORLD_SIZE": "4"}, "warning", "here it has no use -> unset WORLD_SIZE"),
        ({"WANDB_SWEEP_ID": "s"}, "warning", "joins this sweep -> unset WANDB_SWEEP_ID"),
        ({"WANDB_RESUME": "must"}, "warning", "unset WANDB_RESUME"),
        ({"WANDB_DISABLED": "true"}, "warning", "so the training is logged"),
        ({"ULTRALYTICS_WB_DDP": '{"version": 2, "state": "open"}'}, "warning", "without WANDB_RUN_ID it is not read"),
    ],
)
def test_leftover_variable_is_named_with_effect_and_remedy(env: dict[str, str], status: str, words: str) -> None:
    ((found, text),) = leftovers(**env)

    assert found == status
    assert words in text


# The machine


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "cloudpickle.py").write_text("raise ImportError('half installed')")

    answer = ask_doctor(tmp_path, "--dir", str(tmp_path / "file" / "x"), PYTHONPATH=str(tmp_path / "packages"))

    assert answer.exit_code == 1
    errors = answer.of("error")
    assert f"because {tmp_path / 'file'} is a file" in errors["directory"]
    assert "ImportError: half installed -> pip install 'cloudpickle'" in errors["cloudpickle"]
    assert list((tmp_path / "home").iterdir()) == []


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("WANDB_MODE", "onlin", "WANDB_MODE='onlin': Input should be 'online', 'offline'"),
        ("WANDB_BASE_URL", WRONG_KEY, "WANDB_BASE_URL: "),
    ],
)
def test_variable_that_the_client_refuses_is_named_and_its_value_where_it_can_be_no_secret(
    tmp_path: Path, variable: str, value: str, words: str
) -> None:
    answer = ask_doctor(tmp_path, **{variable: value})

    assert (answer.exit_code, answer.plan) == (1, None)
    assert words in answer.of("error")["settings"]
    assert WRONG_KEY not in answer.output


@pytest.mark.parametrize(
    ("device", "told"),
    [
        ("zero,1", "device zero,1: 'zero' is no device -> give numbers of GPUs"),
        ("0,one,2a", "'one', '2a' are no devices"),
        *((device, None) for device in ("cpu", "mps", "-1", "cuda:0, cuda:1", "[0, 1]", "npu:0", "intel:gpu", "")),
    ],
)
def test_word_that_is_no_device_is_an_error(device: str, told: str | None) -> None:
    findings = check_gpus(DoctorRequest(WandbConfig(), device=device))

    texts = [f"{finding.message} -> {finding.remedy}" for finding in findings if "no device" in finding.message]
    assert bool(texts) == bool(told)
    if told:
        assert told in texts[0]
        assert findings[0].status == "error"


def test_versions_are_compared_by_number() -> None:
    assert version_of("8.10.0") > version_of("8.4.140")
    assert version_of("2.9.1+cu128") == (2, 9, 1)
    assert version_of("0.22.3rc1") == (0, 22, 3)


def test_report_stays_within_80_columns_and_counts(capsys: pytest.CaptureFixture[str]) -> None:
    long = "word " * 60
    print_report(
        None, [CheckResult("a", "ok", long), CheckResult("b", "error", long, long), CheckResult("c", "warning", long)]
    )

    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-1] == "1 error, 1 warning"


def test_report_has_one_line_for_what_is_in_order_on_the_machine_unless_it_is_verbose(
    capsys: pytest.CaptureFixture[str],
) -> None:
    well = [
        CheckResult("python", "ok", "3.12.1"),
        CheckResult("wandb", "ok", "0.31.0"),
        CheckResult("GPUs", "ok", "2 visible"),
    ]
    findings = [*well, *(CheckResult("directory", status, status) for status in ("ok", "error", "ok"))]

    print_report(None, findings)
    assert capsys.readouterr().out.splitlines() == [
        "Checks",
        "  ok       GPUs       2 visible",
        "  error    directory  error",
        "  ok       others     python 3.12.1, wandb 0.31.0, directories",
        "",
        "1 error",
    ]

    print_report(None, findings, verbose=True)
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()[1:-2]] == [each.check for each in findings]


# A training that has run

LOG = """\
import sys, wandb
run_id, directory, *rows = sys.argv[1:]
run = wandb.init(project="demo", id=run_id, dir=directory, mode="offline", settings={"console": "off"})
for row in rows:
    run.log({"epoch": int(row), "train/box_loss": 1.0} if row != "-" else {"note": 1})
run.finish()
"""


@dataclass
class Trained:
    """A directory as a training leaves it, in the directory of its job."""

    job: Path

    def __post_init__(self) -> None:
        self.directory = self.job / "train"
        self.directory.mkdir()
        for folder in ("home", "yolo"):
            (self.job / folder).mkdir()
        (self.directory / "args.yaml").write_text("task: detect\n")

    def results(self, epochs: int) -> None:
        rows = "".join(f"{epoch},1.5,0.5\n" for epoch in range(1, epochs + 1))
        (self.directory / "results.csv").write_text(f"epoch,time,train/box_loss\n{rows}")

    def record(self, run_id: str, **more: Any) -> None:
        content = {"id": run_id, "project": "demo", "entity": None, "url": None, **more}
        (self.directory / "wandb_run.json").write_text(json.dumps(content))

    def log(self, run_id: str, *rows: str, below: Path | None = None, project: str = "demo") -> None:
        code = LOG.replace('"demo"', repr(project))
        arguments = [sys.executable, "-c", code, run_id, str(below or self.directory), *rows]
        subprocess.run(
            arguments, check=True, cwd=self.job, env=job_environment(self.job, self.job), capture_output=True
        )

    def examine(self) -> dict[str, dict[str, str]]:
        """Return texts by status and check."""
        found: dict[str, dict[str, str]] = {"ok": {}, "warning": {}, "error": {}}
        for finding in check_training(self.directory, self.job):
            found[finding.status][finding.check] = f"{finding.message} -> {finding.remedy}"
        return found


@pytest.fixture
def trained(tmp_path: Path) -> Trained:
    return Trained(tmp_path)


def test_training_in_order_is_one_run_with_all_epochs(trained: Trained) -> None:
    trained.log("good", "-", "1", "2", "2")
    trained.results(2)
    trained.record("good")

    answer = ask_doctor(trained.job, "--training", "train")

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


def test_disabled_client_is_among_the_causes_of_a_training_that_was_not_logged(trained: Trained) -> None:
    trained.results(3)

    assert "W&B was not disabled (WANDB_MODE=disabled" in trained.examine()["warning"]["record"]


def test_run_that_was_sent_but_does_not_say_how_it_ended(trained: Trained) -> None:
    trained.log("cut", "1")
    trained.results(1)
    (file,) = trained.directory.rglob("run-cut.wandb")
    file.write_bytes(file.read_bytes()[:-40])  # as a killed process leaves it
    file.with_name("run-cut.wandb.synced").write_text("")

    answer = trained.examine()

    assert "run cut is not finished" in answer["warning"]["end"]
    assert "sent" not in answer["warning"]


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


def test_run_that_is_nowhere_is_told_with_every_place_and_the_option_that_names_another(trained: Trained) -> None:
    trained.results(1)
    trained.record("gone", links={"sync_command": "wandb sync /nowhere/wandb/offline-run-x"})

    text = trained.examine()["warning"]["run"]

    assert f"{trained.job / 'wandb'} or in /nowhere/wandb" in text
    assert "give with --dir the directory above the 'wandb'" in text


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"epoch": 0, "optimizer": {}}, True),
        ({"epoch": 2, "optimizer": {}}, False),  # killed after the last epoch
        ({"date": "today", "epoch": -1, "optimizer": None}, False),  # as Ultralytics leaves it at the end
        (None, False),
    ],
)
def test_only_a_training_that_was_cut_off_can_be_resumed(
    trained: Trained, content: dict[str, Any] | None, *, told: bool
) -> None:
    import torch

    (trained.directory / "args.yaml").write_text("task: detect\nepochs: 3\n")
    trained.record("cut")
    (trained.directory / "weights").mkdir()
    if content:
        torch.save(content, trained.directory / "weights" / "last.pt")

    assert ("model.train(resume=True) continues it" in trained.examine()["ok"]["record"]) == told


def test_directory_without_a_training_is_an_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["doctor", "--training", str(tmp_path)])

    assert result.exit_code == 1
    assert "give the directory of one training" in " ".join(result.output.split())
