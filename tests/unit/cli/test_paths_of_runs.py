"""The paths of runs that commands take."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from ultralytics_wb_ddp.cli.main import main


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
def test_run_of_another_form_is_refused_before_a_server_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], run: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here/is/something").mkdir(parents=True)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # where nothing listens

    done = CliRunner().invoke(main, [run if word == "RUN" else word for word in command])

    assert done.exit_code == 1
    assert re.search(words, done.output)
    assert [each.name for each in tmp_path.iterdir()] == ["here"]
