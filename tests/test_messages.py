"""What people read: how messages are written, and that a command ends with a sentence where its user can mend it."""

from __future__ import annotations

import ast
import io
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import CalledProcessError

import click
import pytest
from click.testing import CliRunner

from support.jobs import RunJob
from support.paths import ROOT
from ultralytics_wb_ddp import ConfigurationError
from ultralytics_wb_ddp.artifacts.prune import find_checkpoints
from ultralytics_wb_ddp.cli.main import Commands, main
from ultralytics_wb_ddp.utils.errors import user_message
from ultralytics_wb_ddp.utils.progress import status, track
from ultralytics_wb_ddp.wandb_client.run_file import read_run
from ultralytics_wb_ddp.wandb_client.server import ServerError

PACKAGE = ROOT / "ultralytics_wb_ddp"
KEY = "0123456789" * 4
LEVELS = {"debug", "info", "warning", "error", "exception"}


def text_of(node: ast.expr | None) -> str | None:
    """Return a string of the source with ``{}`` for its values."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return None


def messages() -> Iterator[tuple[str, str]]:
    """Yield where each message of the package stands and how it is written."""
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            found = None
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "msg":
                found = text_of(node.value)
            elif isinstance(node, ast.Call) and ast.unparse(node.func) in {f"logger.{level}" for level in LEVELS}:
                found = text_of(node.args[0])
            if found:
                yield f"{file.name}:{node.lineno}", found


def test_messages_are_written_in_one_way() -> None:
    found = list(messages())
    begins_well = re.compile(r"[a-z'{%\[]|[A-Z][A-Z0-9_]+\b|W&B|Ultralytics|AWS")
    wrong = {
        place: text
        for place, text in found
        if not begins_well.match(text) or text.endswith((".", "!", ":")) or "\n" in text or "  " in text
    }

    assert len(found) > 200, "the messages are no longer found"
    assert wrong == {}


# What a command makes of an error


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


# W&B that is away


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The address of a server that is not there, which W&B's client is set to."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.chdir(tmp_path)
    for name, value in {"WANDB_BASE_URL": url, "WANDB_API_KEY": KEY, "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    return url


@pytest.mark.parametrize(
    "arguments",
    [
        ["download", "team/demo/run", "there"],
        ["prune", "team/demo/run", "--keep", "1"],
        ["resume", "team/demo/run", "device=0"],
        ["sweep", "sweep.yaml", "--join", "team/demo/sweep"],
    ],
)
def test_wandb_that_is_away_is_told_in_seconds(away: str, tmp_path: Path, arguments: list[str]) -> None:
    job = "{wandb: {project: demo}, model: yolo11n.yaml, train: {data: coco8.yaml}}"
    (tmp_path / "sweep.yaml").write_text(f"method: random\nparameters: {{seed: {{values: [1, 2]}}}}\njob: {job}\n")
    start = time.monotonic()
    done = CliRunner().invoke(main, arguments)

    assert done.exit_code == 1
    assert f"{away} cannot be reached: Connection refused; check network, proxy and WANDB_BASE_URL" in done.stderr
    assert time.monotonic() - start < 20, "W&B's client takes 30 s"


def test_wandb_that_is_away_is_no_run_without_checkpoints(away: str) -> None:
    with pytest.raises(ServerError, match=f"{away} cannot be reached"):
        find_checkpoints("team", "demo", "run")


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
        (["doctor", "--config", "job.yaml"], 1, "wandb.tags=5: tags are a list of strings"),
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


def test_several_runs_below_a_folder_are_named_by_their_folders(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("run-1", "run-2"):
        (tmp_path / "wandb" / name).mkdir(parents=True)
        (tmp_path / "wandb" / name / f"{name}.wandb").touch()

    with pytest.raises(ValueError, match=r"holds 2 .wandb files; give one of them: wandb/run-1, wandb/run-2"):
        read_run("wandb")


# Terminals


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "is_shown"), [(Terminal(), True), (io.StringIO(), False)])
def test_progress_is_shown_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, *, is_shown: bool
) -> None:
    monkeypatch.setattr("sys.stderr", stream)

    assert list(track([1, 2, 3], "counting")) == [1, 2, 3]
    assert ("counting" in stream.getvalue() and "100%" in stream.getvalue()) is is_shown


def test_what_goes_on_is_shown_on_a_terminal_and_wiped_away(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("COLUMNS", "30")
    with status("importing runs/a-name-that-does-not-fit"):
        line = stream.getvalue()

    assert line == "importing runs/a-name-tha ..."
    assert len(line) < 30
    assert stream.getvalue() == line + "\r\x1b[K"


def test_log_file_has_no_progress_although_wandb_makes_a_terminal_of_it(run_job: RunJob) -> None:
    job = run_job(
        """\
        import sys
        from ultralytics_wb_ddp import WandbManager
        from ultralytics_wb_ddp.utils.progress import status, track
        with WandbManager({"wandb": {"project": "demo"}}, "job"):
            print("a terminal:", sys.stderr.isatty())
            with status("what goes on"):
                list(track([1, 2, 3], "counting"))
        """,
        prelude="",
    )

    assert "a terminal: True" in job.output
    assert "what goes on" not in job.output
    assert "counting" not in job.output


@pytest.mark.parametrize(("value", "is_coloured"), [("", True), ("1", False)])
def test_colours_are_left_out_where_nobody_wants_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str, *, is_coloured: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", value)
    done = CliRunner().invoke(main, ["doctor", "--training", str(tmp_path)], color=True)

    assert ("\x1b[31m" in done.output) is is_coloured
