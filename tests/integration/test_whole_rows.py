"""A row whose pictures, tables or names W&B cannot store: its numbers arrive, and each missing value is named."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
import wandb
from PIL import Image, UnidentifiedImageError
from wandb_server import WandbServer

from support.jobs import wait_until_closed
from ultralytics_wb_ddp import WandbManager
from ultralytics_wb_ddp.config.options import RunOptions
from ultralytics_wb_ddp.metrics import trainer_rows
from ultralytics_wb_ddp.runs.guarded_run import GuardedRun
from ultralytics_wb_ddp.wandb_client.run_file import RecordedRun, find_run_files, read_run
from ultralytics_wb_ddp.wandb_client.storage import store_value


class Troubled(NamedTuple):
    """A run of which not all values could be stored, and the messages about it."""

    run: RecordedRun
    messages: list[str]


class Messages(logging.Handler):
    """Keeps the package's messages."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@contextmanager
def offline_in(folder: Path) -> Iterator[pytest.MonkeyPatch]:
    """Work in a directory, without W&B's variables and with an empty home."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("WANDB_"):
                patch.delenv(name)
        for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR"):
            patch.setenv(name, "")  # so that it is put back afterwards
            patch.delenv(name)
        patch.setenv("HOME", str(folder))
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_SILENT", "true")
        patch.setenv("WANDB_CONSOLE", "off")
        patch.chdir(folder)
        wandb.teardown()
        yield patch
        wandb.teardown()


def recorded(folder: Path) -> list[RecordedRun]:
    wandb.teardown()  # finish() does not wait for the file to be written
    return [read_run(file) for file in find_run_files(folder)]


def table() -> Any:
    return wandb.Table(columns=["a"], data=[[1]])


def log_rows_of_trouble(run: Any, on_error: Literal["warn", "raise"]) -> None:
    """Log two rows with a value of each kind of trouble, through a session as a training has it."""
    session = GuardedRun(run, "adopt", RunOptions(on_error=on_error))
    session.start(Path("train"))
    try:
        for name in ("good", "emptied", "deleted", "taken"):
            Image.new("RGB", (8, 8)).save(f"{name}.png")
        plots: dict[Path, dict[str, float]] = {
            Path(f"{name}.png"): {"timestamp": 1.0} for name in ("good", "emptied", "never", "deleted", "taken")
        }
        plots[Path("users own")] = {}
        Path("emptied.png").write_bytes(b"")
        images = trainer_rows.changed_plots(plots, {}, session.guard)
        Path("deleted.png").unlink()
        others = {
            "x" * 250: wandb.Image("good.png"),
            "t" * 200: table(),
            "tables/good": table(),
            "object": object(),
            7: 1.0,
        }
        fields, titles = {"x": "a"}, {"title": "t"}
        chart = wandb.plot_table("wandb/area-under-curve/v0", table(), fields=fields, string_fields=titles)
        Path(run.dir, "media/images").mkdir(parents=True)
        for epoch in (1, 2):
            row: dict[Any, Any] = {"train/box_loss": 0.5, **images, **others, "curves/good": chart, "epoch": epoch}
            session.log(row, is_best=False)
    finally:
        session.close(0)


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Troubled:
    folder, messages = tmp_path_factory.mktemp("troubled"), Messages()
    logger = logging.getLogger("ultralytics_wb_ddp")
    logger.addHandler(messages)
    try:
        with offline_in(folder):
            with wandb.init(project="demo") as run:
                log_rows_of_trouble(run, "warn")
            (stored,) = recorded(folder)
    finally:
        logger.removeHandler(messages)
    return Troubled(stored, messages.texts)


def test_numbers_arrive_with_all_values_that_can_be_stored(troubled: Troubled) -> None:
    rows = troubled.run.history

    assert [(row["train/box_loss"], row["epoch"]) for row in rows] == [(0.5, 1), (0.5, 2)]
    for row in rows:
        stored = {key for key in row if not key.startswith("_")}
        assert stored >= {"good", "taken", "tables/good", "curves/good_table"}
        assert not stored & {"emptied", "never", "deleted", "object"}
    (good,) = (file for file in troubled.run.files if "/good_" in file and file.endswith(".png"))
    assert (troubled.run.path.parent / "files" / good).stat().st_size


@pytest.mark.parametrize(
    "name", ["plot emptied.png", "plot never.png", "plot users own", "deleted", "x" * 250, "t" * 200, "object", "7"]
)
def test_missing_value_is_named_once(troubled: Troubled, name: str) -> None:
    told = [text for text in troubled.messages if text.startswith(f"{name} could not be logged to run")]
    assert len(told) == 1


@pytest.fixture
def _pil_opens_pictures_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """PIL's own function, which Ultralytics replaces in a process that has imported it."""
    if replaced := getattr(sys.modules.get("ultralytics.utils.patches"), "_image_open", None):
        monkeypatch.setattr(Image, "open", replaced)


@pytest.mark.usefixtures("_pil_opens_pictures_itself")
def test_error_is_raised_where_that_is_wanted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with offline_in(tmp_path), wandb.init(project="demo") as run, pytest.raises(UnidentifiedImageError):
        log_rows_of_trouble(run, "raise")

    assert "could not be logged" not in caplog.text


def test_artifacts_and_tables_are_put_together_beside_the_run_where_the_home_cannot_be_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "best.pt").write_bytes(b"weights")
    with offline_in(tmp_path) as patch:
        patch.setenv("HOME", "/dev/null/home")
        with wandb.init(project="demo") as run:
            session = GuardedRun(run, "adopt", RunOptions())
            session.start(tmp_path / "train")
            session.log({"per_class_metrics": table(), "epoch": 1}, is_best=False)
            artifact = wandb.Artifact("best", type="model")
            artifact.add_file(str(tmp_path / "best.pt"))
            session.log_artifact(artifact, ["best"])
            session.close(0)
        (stored,) = recorded(tmp_path)

    assert "per_class_metrics" in stored.history[0]
    assert "model" in {artifact.type for artifact in stored.artifacts}
    assert "could not be logged" not in caplog.text
    assert caplog.text.count("WANDB_DATA_DIR") == 1


def test_run_whose_directory_cannot_be_written_is_put_elsewhere_and_arrives(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with WandbServer() as server, offline_in(tmp_path) as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        with WandbManager({"wandb": {"project": "demo", "mode": "online", "dir": "/proc/nowhere"}}, "job") as manager:
            manager.run.log({"x": 1})
            place = manager.run.dir
        wait_until_closed(server)
        (run,) = server.runs

    assert [row["x"] for row in run.history] == [1]
    assert run.state == "finished"
    (folder,) = re.findall(r"/proc/nowhere cannot be written, W&B's files are put in (\S+)", caplog.text)
    assert place.startswith(f"{folder}/wandb/run-")


def test_table_that_was_stored_for_a_lost_run_is_stored_whole_for_the_next_one(tmp_path: Path) -> None:
    with offline_in(tmp_path):
        classes = wandb.Classes([{"id": 0, "name": "circle"}])
        image = wandb.Image(Image.new("RGB", (8, 8)), classes=classes)
        shown = wandb.Table(columns=["image"], data=[[image]])
        with wandb.init(project="demo", id="lost") as lost:
            store_value(lost, "images", shown)
        with wandb.init(project="demo", id="next") as run:
            store_value(run, "images", shown)
            run.log({"images": shown})
        (next_run,) = [each for each in recorded(tmp_path) if each.id == "next"]
    (artifact,) = next_run.artifacts

    assert any(path.endswith(".table.json") for path in artifact.entries)
    assert any(path.endswith(".classes.json") for path in artifact.entries)
    assert all(isinstance(size, int) and size > 0 for size in artifact.entries.values()), (
        "no entry refers to another run"
    )
