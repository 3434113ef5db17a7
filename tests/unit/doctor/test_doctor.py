"""The doctor before a training: its plan, and what it reads."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from support.doctor import KEY, Doctor, doctor_in
from ultralytics_wb_ddp.cli.main import main


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Doctor]:
    with doctor_in(monkeypatch, tmp_path) as doctor:
        yield doctor


def test_plan_says_which_run_which_ranks_which_mode(doctor: Doctor) -> None:
    answer = doctor.ask("--project", "demo", "--entity", "team", "--id", "abc", "--device", "[0, 1, 2, 3]")

    assert answer.exit_code == 0
    expected = {"action": "resume", "run_id": "abc", "project": "demo", "entity": "team", "mode": "offline"}
    assert {key: answer.plan[key] for key in expected} == expected
    assert (answer.plan["processes"], answer.plan["logging_ranks"]) == (4, [0])
    assert "artifact run_abc_model" in " ".join(answer.plan["uploads"])
    assert "asks for 4" in {**answer.of("warning"), **answer.of("ok")}["GPUs"]


def test_config_file_is_read_as_a_manager_reads_it_and_the_command_line_wins(doctor: Doctor, tmp_path: Path) -> None:
    config = tmp_path / "job.yaml"
    config.write_text(f"wandb: {{project: from-file, entity: team, mode: online, dir: out, api_key: {KEY}}}")

    answer = doctor.ask("--config", "job.yaml", "--project", "from-options", "--mode", "offline")

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


def test_leftover_run_id_is_named_with_its_effect(doctor: Doctor) -> None:
    answer = doctor.ask(WANDB_RUN_ID="old-run", WANDB_MODE="offline")

    assert answer.exit_code == 0
    assert (answer.plan["action"], answer.plan["run_id"]) == ("resume", "old-run")
    assert "WANDB_RUN_ID=old-run: the training continues this run" in answer.of("warning")["environment"]
    assert "unset WANDB_RUN_ID" in answer.of("warning")["environment"]


def test_damaged_handoff_is_an_error_in_every_output(doctor: Doctor) -> None:
    env = {"WANDB_RUN_ID": "old", "ULTRALYTICS_WB_DDP": "{nonsense"}

    exit_code, output = doctor.tell("--project", "demo", **env)

    assert exit_code == 1
    words = " ".join(output.split())
    assert "ULTRALYTICS_WB_DDP='{nonsense' is not JSON" in words
    assert "-> unset ULTRALYTICS_WB_DDP" in words
    assert "1 error" in output.splitlines()[-1]


def test_all_that_is_wrong_is_told_at_once(doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "cloudpickle.py").write_text("raise ImportError('half installed')")
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.delitem(sys.modules, "cloudpickle", raising=False)

    answer = doctor.ask("--dir", str(tmp_path / "file" / "x"))

    assert answer.exit_code == 1
    errors = answer.of("error")
    assert f"because {tmp_path / 'file'} is a file" in errors["directory"]
    assert "ImportError: half installed -> pip install 'cloudpickle'" in errors["cloudpickle"]


WRONG_KEY = "f" * 40


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("WANDB_MODE", "onlin", "WANDB_MODE='onlin': Input should be 'online', 'offline'"),
        ("WANDB_BASE_URL", WRONG_KEY, "WANDB_BASE_URL: "),
    ],
)
def test_variable_that_the_client_refuses_is_named_and_its_value_where_it_can_be_no_secret(
    doctor: Doctor, variable: str, value: str, words: str
) -> None:
    answer = doctor.ask(**{variable: value})

    assert (answer.exit_code, answer.plan) == (1, None)
    assert words in answer.of("error")["settings"]
    assert WRONG_KEY not in answer.output
