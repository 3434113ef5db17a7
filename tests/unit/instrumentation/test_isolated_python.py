"""Which commands start a Python that autolog cannot reach."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ultralytics_wb_ddp.instrumentation.isolated_python import isolation_of

PATH, SITE = "ignores PYTHONPATH", "reads no sitecustomize.py"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("python -I train.py", f"-I {PATH}"),
        ("python3.11 -sE -m train", f"-E {PATH}"),
        ("/usr/bin/python3 -S -c pass", f"-S {SITE}"),
        ("env A=1 nice python -X dev -W ignore -uI train.py", f"-I {PATH}"),
        ("python train.py -I", None),
        ("python -m torch.distributed.run -S", None),
        ("python -Xdev -c pass -I", None),
        ("python - -I", None),
        ("yolo train -I", None),
        ("python", None),
    ],
)
def test_options_of_the_interpreter_count_and_those_of_the_script_do_not(command: str, reason: str | None) -> None:
    assert isolation_of(command.split()) == reason


@pytest.mark.parametrize(("options", "reason"), [(" -sI", f"-I {PATH}"), ("", None)])
def test_first_line_of_a_script_counts(tmp_path: Path, options: str, reason: str | None) -> None:
    script = tmp_path / "train"
    script.write_text(f"#!{sys.executable}{options}\n", encoding="utf-8")
    script.chmod(0o755)

    assert isolation_of([str(script)]) == reason


def test_command_that_is_not_there_is_no_isolated_python() -> None:
    assert isolation_of(["no-such-command"]) is None
