"""What the commands make of errors: a sentence where their user can mend it."""

from __future__ import annotations

from pathlib import Path
from subprocess import CalledProcessError

import click
import pytest
from click.testing import CliRunner

from ultralytics_wb_ddp import ConfigurationError
from ultralytics_wb_ddp.cli.main import Commands, main
from ultralytics_wb_ddp.utils.errors import user_message


class Failing(Commands):
    """The command line with a command that fails."""

    def __init__(self, error: BaseException) -> None:
        super().__init__("tool")
        self.error = error

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        def fail() -> None:
            raise self.error

        return click.Command("fail", callback=fail)


@pytest.mark.parametrize(
    ("error", "exit_code", "said"),
    [
        (ConfigurationError("train.epochs='x': why; what to do"), 1, "Error: train.epochs='x': why; what to do\n"),
        (PermissionError(13, "Permission denied", "a/b"), 1, "Error: a/b: Permission denied\n"),
        (
            CalledProcessError(3, "python"),
            1,
            "Error: the training ended with exit code 3; the output of its processes is",
        ),
        (NotImplementedError("Optimizer 'Foo' not found"), 1, "Error: Optimizer 'Foo' not found\n"),
        (ValueError("Invalid CUDA 'device=7' requested.\nfigures"), 1, "requested.; name GPUs that are there"),
        (KeyboardInterrupt(), 130, ""),
        (click.UsageError("wrong"), 2, "Error: wrong\n"),
    ],
)
def test_what_a_user_can_mend_is_one_sentence(error: BaseException, exit_code: int, said: str) -> None:
    done = CliRunner().invoke(Failing(error), ["fail"])

    assert done.exit_code == exit_code
    assert said in done.stderr
    assert "Traceback" not in done.output


def test_what_it_was_raised_from_is_looked_at_and_a_fault_of_the_program_is_none() -> None:
    outer = RuntimeError("the data is wrong")
    outer.__cause__ = FileNotFoundError("no such folder")

    assert user_message(outer) == "RuntimeError: the data is wrong"
    assert user_message(KeyError("x")) is None
    assert isinstance(CliRunner().invoke(Failing(KeyError("x")), ["fail"]).exception, KeyError)


# What is given to commands


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        (["train", "job.yaml", "foo"], 2, "'foo' is no KEY=VALUE, such as train.epochs=5"),
        (["resume", "a/b/c", "=5"], 2, "'=5' is no KEY=VALUE, such as device=0,1"),
        (["resume", "a/b/c", "epocs=5"], 1, "model.train: 'epocs' is no training argument of Ultralytics"),
        (["import", ".", "--project", "a/b"], 1, "--project='a/b': W&B refuses / in a project's name"),
        (["sync", "."], 1, "'.' holds no .wandb file; give a directory that W&B has written for a run"),
        (
            ["train", "job.yaml", "wandb.tags=x", "wandb.mode=onlin"],
            1,
            "Error: wandb.mode='onlin' is unknown; choose one of online",
        ),
        (["doctor", "--config", "job.yaml"], 1, "wandb.tags=5: a list of strings is expected"),
    ],
)
def test_mistake_on_the_command_line_or_in_a_file_is_named_as_its_user_wrote_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], exit_code: int, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.yaml").write_text("wandb: {project: demo, tags: 5}\nmodel: yolo11n.yaml\n", encoding="utf-8")
    done = CliRunner().invoke(main, arguments)

    assert done.exit_code == exit_code
    assert words in " ".join(done.output.split())


def test_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["sync", str(tmp_path)])

    assert done.exit_code == 1
    assert "holds no .wandb file; give a directory that W&B has written" in done.output


@pytest.mark.parametrize(("value", "is_coloured"), [("", True), ("1", False)])
def test_colours_are_left_out_where_nobody_wants_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str, *, is_coloured: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", value)
    done = CliRunner().invoke(main, ["doctor", "--training", str(tmp_path)], color=True)

    assert ("\x1b[31m" in done.output) is is_coloured
