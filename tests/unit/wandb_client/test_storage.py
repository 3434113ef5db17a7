"""Directories for W&B's files where the usual ones cannot be written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ultralytics_wb_ddp.wandb_client.storage import ensure_writable_directories, find_writable_dir, is_writable

MOVED = ("WANDB_DATA_DIR", "WANDB_CACHE_DIR")


@pytest.fixture(autouse=True)
def _usual_directories_are_in_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*MOVED, "WANDB_DIR", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "")  # so that it is put back after the test
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def moved_to() -> list[str | None]:
    return [os.environ.get(name) for name in MOVED]


def test_directories_that_can_be_written_stay(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ensure_writable_directories(tmp_path / "wandb")

    assert moved_to() == [None, None]
    assert caplog.text == ""


@pytest.mark.parametrize(
    "variables",
    [{"HOME": "/dev/null/home"}, {"WANDB_DATA_DIR": "/dev/null/data", "WANDB_CACHE_DIR": "/dev/null/cache"}],
    ids=["home", "variables"],
)
def test_directories_that_cannot_be_written_are_moved_beside_the_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    ensure_writable_directories(tmp_path / "wandb")
    ensure_writable_directories(tmp_path / "wandb")

    assert moved_to() == [str(tmp_path / "wandb/data"), str(tmp_path / "wandb/cache")]
    (message,) = caplog.messages
    assert message.count("WANDB_DATA_DIR") == message.count("WANDB_CACHE_DIR") == 1
    assert message.endswith(f"artifacts and tables are put together in {tmp_path / 'wandb'}")


def test_run_whose_directory_cannot_be_written_gets_a_temporary_one(caplog: pytest.LogCaptureFixture) -> None:
    folder = find_writable_dir("/proc/nowhere", "abc")

    assert folder is not None
    assert is_writable(Path(folder))
    assert caplog.messages == [f"run abc: /proc/nowhere cannot be written, W&B's files are put in {folder}"]


@pytest.mark.parametrize("directory", [None, "new/folder"])
def test_run_whose_directory_can_be_written_keeps_it(directory: str | None, caplog: pytest.LogCaptureFixture) -> None:
    assert find_writable_dir(directory, "abc") == directory
    assert caplog.messages == []
