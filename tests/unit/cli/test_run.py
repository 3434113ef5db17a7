"""Wrong uses of ``ultralytics-wb-ddp run``, before the command is started."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from ultralytics_wb_ddp import ConfigurationError
from ultralytics_wb_ddp.cli.main import main
from ultralytics_wb_ddp.cli.run import read_options


@pytest.mark.parametrize(
    ("words", "exit_code", "message"),
    [
        ([], 2, "there is no command; write it after --, as in: ultralytics-wb-ddp run -- yolo train"),
        (["--"], 2, "there is no command"),
        (["--projct", "x", "--", "yolo"], 2, "--projct"),
        (["--api-key", "x", "--", "yolo"], 2, "--api-key has no place here: set WANDB_API_KEY or call 'wandb login'"),
        (["--id", "x", "--", "yolo"], 2, "WANDB_RUN_ID and WANDB_PROJECT name a run to continue"),
        (["--project", "a/b", "--", "yolo"], 1, "--project='a/b': W&B refuses / in a project's name"),
        (["--checkpoint-keep", "-1", "--", "yolo"], 1, "--checkpoint-keep=-1: a whole number, 0 or more, is expected"),
        (["--run-mode", "shared", "--mode", "offline", "--", "yolo"], 1, "run_mode='shared' with mode='offline'"),
        (["--config", "none.yaml", "--", "yolo"], 2, "'none.yaml' does not exist"),
    ],
)
def test_wrong_use_is_one_message(words: list[str], exit_code: int, message: str) -> None:
    done = CliRunner().invoke(main, ["run", *words])

    assert done.exit_code == exit_code
    assert message in done.stderr
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    "text", ["wandb:\n  project: file\n  tags: [a]\ntrain: {epochs: 3}\n", "project: file\ntags: a\n"]
)
def test_options_are_in_a_section_or_at_the_top_of_a_file(tmp_path: Path, text: str) -> None:
    file = tmp_path / "options.yaml"
    file.write_text(text, encoding="utf-8")

    assert read_options({}, file) == {"project": "file", "tags": ("a",)}
    assert read_options({"project": "line"}, file)["project"] == "line"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("projct: demo\n", "'projct' is unknown; did you mean 'project'?"),
        ("wandb:\n  api_key: secret\n", "wandb: 'api_key' has no place here: set WANDB_API_KEY"),
        ("wandb: demo\n", "wandb='demo': a section of 'name: value' lines is expected"),
        ("- demo\n", "holds no sections"),
    ],
)
def test_wrong_file_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "options.yaml"
    file.write_text(text, encoding="utf-8")

    with pytest.raises(ConfigurationError) as raised:
        read_options({}, file)

    assert message in str(raised.value)
    assert "secret" not in str(raised.value)
