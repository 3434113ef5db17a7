"""``ultralytics-wb-ddp run`` around commands that do not train: it is as if they were started alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from support.jobs import job_environment
from ultralytics_wb_ddp.instrumentation.environment import AUTOLOG_VARIABLE, BOOTSTRAP

SHOW = "import json, os, sys; print(os.environ['ULTRALYTICS_WB_DDP_AUTOLOG'], 'wandb' in sys.modules, 'site' in sys.modules)"


def run(directory: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command under the package's command, in a directory."""
    return subprocess.run(
        [sys.executable, "-m", "ultralytics_wb_ddp.cli", "run", *words],
        cwd=directory,
        env={**job_environment(directory, directory), **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def fake_ultralytics(directory: Path) -> Path:
    """Make a package whose trainer is empty: the hook acts on its import, not on its content."""
    engine = directory / "packages/ultralytics/engine"
    engine.mkdir(parents=True)
    for file in (engine.parent / "__init__.py", engine / "__init__.py", engine / "trainer.py"):
        file.touch()
    return directory / "packages"


def test_options_reach_the_command_and_nothing_is_imported_for_it(tmp_path: Path) -> None:
    done = run(tmp_path, "--project", "demo", "--tags", "a,b", "--", sys.executable, "-c", SHOW, WANDB_API_KEY="k" * 40)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == '{"project": "demo", "tags": ["a", "b"]} False True\n'


def test_inner_command_adds_to_the_options_of_an_outer_one(tmp_path: Path) -> None:
    inner = [sys.executable, "-m", "ultralytics_wb_ddp.cli", "run", "--name", "inner", "--", sys.executable, "-c", SHOW]
    done = run(tmp_path, "--project", "demo", "--name", "outer", "--", *inner)

    assert '"project": "demo"' in done.stdout
    assert '"name": "inner"' in done.stdout


@pytest.mark.parametrize(
    ("words", "exit_code"),
    [(["-c", "exit(7)"], 7), (["-c", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"], -signal.SIGTERM)],
    ids=["exit code", "signal"],
)
def test_end_of_the_command_is_the_end_of_its_process(tmp_path: Path, words: list[str], exit_code: int) -> None:
    assert run(tmp_path, "--", sys.executable, *words).returncode == exit_code


def test_writer_whose_reader_has_gone_ends_as_without_the_command(tmp_path: Path) -> None:
    done = run(tmp_path, "--", "bash", "-c", "yes | head -1; echo ${PIPESTATUS[0]}")

    assert done.stdout.split() == ["y", "141"]


@pytest.mark.parametrize(
    ("content", "mode", "exit_code", "message"),
    [
        (None, 0, 127, "does not exist; check its spelling"),
        ("#!/bin/sh\n", 0o644, 126, "cannot be executed (Permission denied); make it executable"),
        ("exit 0\n", 0o755, 126, "cannot be executed (Exec format error); make it executable, or put its interpreter"),
        ("#!/no/such/python\n", 0o755, 126, "the interpreter that its first line names is not there"),
    ],
    ids=["missing", "not executable", "no program", "no interpreter"],
)
def test_command_that_cannot_be_executed_has_the_exit_code_of_shells(
    tmp_path: Path, content: str | None, mode: int, exit_code: int, message: str
) -> None:
    if content is not None:
        (tmp_path / "train.sh").write_text(content, encoding="utf-8")
        (tmp_path / "train.sh").chmod(mode)
    done = run(tmp_path, "--", "./train.sh")

    assert done.returncode == exit_code
    assert done.stderr.startswith("Error: './train.sh' ")
    assert message in done.stderr


def test_word_that_is_no_command_is_not_found(tmp_path: Path) -> None:
    done = run(tmp_path, "no-such-command", "--project", "x")

    assert done.returncode == 127
    assert done.stderr.startswith("Error: 'no-such-command' is not found in PATH; check its spelling")


def test_isolated_python_gets_a_message_and_runs(tmp_path: Path) -> None:
    done = run(tmp_path, "--", sys.executable, "-I", "-c", "print('ran')")

    assert (done.returncode, done.stdout) == (0, "ran\n")
    assert "its trainings are not logged, because Python's -I ignores PYTHONPATH; leave the option out" in done.stderr


def test_sitecustomize_that_was_there_is_loaded_too(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('theirs')\n", encoding="utf-8")
    show = "import sitecustomize, sys; print(sitecustomize.__file__, sys.path[1])"
    paths = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    done = run(tmp_path, "--", sys.executable, "-c", show, PYTHONPATH=paths)

    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == f"{tmp_path / 'sitecustomize.py'} {BOOTSTRAP}"
    assert done.stdout.splitlines()[-2] == "theirs"


def test_other_python_without_the_package_gets_one_message_and_trains(tmp_path: Path) -> None:
    venv.create(tmp_path / "other", with_pip=False)
    python = str(tmp_path / "other/bin/python")
    paths = os.pathsep.join([BOOTSTRAP, str(fake_ultralytics(tmp_path))])
    command = [python, "-c", "import ultralytics.engine.trainer; import ultralytics; print('trained')"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={"PYTHONPATH": paths, AUTOLOG_VARIABLE: "{}"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, "trained\n")
    assert done.stderr.count("\n") == 1
    assert "the trainings of this Python are not logged (No module named 'ultralytics_wb_ddp')" in done.stderr
    assert f"{python} -m pip install ultralytics-wb-ddp" in done.stderr
