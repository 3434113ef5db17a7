"""The end of a run of the user's: its exit code, and the command that sends an offline run; in this process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import pytest
import wandb
from ultralytics import YOLO
from wandb_server import WandbServer

from support.paths import TINY
from ultralytics_wb_ddp import add_wandb_callback
from ultralytics_wb_ddp.runs.handoff import Handoff, write_handback
from ultralytics_wb_ddp.runs.open_runs import block_finish, exit_code_of_run, unblock_finish
from ultralytics_wb_ddp.wandb_client.run_state import get_run_dir, is_closed


@pytest.fixture
def _offline(no_s3: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:  # noqa: ARG001
    """An environment in which runs are offline; nothing stays open."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    wandb.teardown()  # the settings of a test before
    yield
    wandb.teardown()


def finish_twice(run: Any) -> None:
    run.finish()
    run.finish()


def finish_by_name(_: Any) -> None:
    wandb.finish()


def leave_block(run: Any) -> None:
    with run:
        pass


def tear_down(_: Any) -> None:
    wandb.teardown()


def commands(caplog: pytest.LogCaptureFixture) -> list[str]:
    messages = (record.getMessage() for record in caplog.records)
    return [message for message in messages if " is on disk only; send it with: " in message]


@pytest.mark.usefixtures("_offline")
@pytest.mark.parametrize("end", [finish_twice, finish_by_name, leave_block, tear_down])
def test_command_is_named_once_however_an_offline_run_ends(
    caplog: pytest.LogCaptureFixture, end: Callable[[Any], None]
) -> None:
    run = wandb.init(project="demo", id="mine")
    folder = get_run_dir(run)
    with caplog.at_level(logging.INFO, "ultralytics_wb_ddp"):
        add_wandb_callback(YOLO(TINY), run=run)
        end(run)

    assert commands(caplog) == [f"run mine is on disk only; send it with: ultralytics-wb-ddp sync {folder}"]


@pytest.mark.usefixtures("_offline")
@pytest.mark.parametrize("mode", ["online", "disabled"])
def test_no_command_is_named_for_a_run_that_is_sent_or_disabled(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, mode: str
) -> None:
    with WandbServer() as server, caplog.at_level(logging.INFO, "ultralytics_wb_ddp"):
        for name, value in {**server.environment, "WANDB_MODE": mode}.items():
            monkeypatch.setenv(name, value)
        run = wandb.init(project="demo", id="mine")
        add_wandb_callback(YOLO(TINY), run=run)
        run.finish()

    assert commands(caplog) == []
    assert [stored.state for stored in server.runs] == (["finished"] if mode == "online" else [])


@pytest.mark.usefixtures("_offline")
def test_exit_code_that_a_worker_has_reported_is_that_of_a_launch_that_fails() -> None:
    with wandb.init(project="demo") as run:
        failed = CalledProcessError(1, "torchrun")
        assert exit_code_of_run(run, failed) == 1

        file = Handoff.of_run(run, is_open=True).handback_file
        assert file is not None
        write_handback(file, next_step=1, exit_code=3)
        assert exit_code_of_run(run, failed) == 3
        assert exit_code_of_run(run, ValueError()) == 1
        assert exit_code_of_run(run, None) == 0


@pytest.mark.usefixtures("_offline")
def test_run_of_a_training_cannot_be_finished_by_others(caplog: pytest.LogCaptureFixture) -> None:
    run = wandb.init(project="demo", id="abc")
    with caplog.at_level(logging.WARNING, "ultralytics_wb_ddp"):
        block_finish(run, "the reason")
        wandb.finish()
        run.finish()
        assert not is_closed(run)

        unblock_finish(run)
        run.finish()
        assert is_closed(run)

    messages = [record.getMessage() for record in caplog.records if record.name == "ultralytics_wb_ddp"]
    assert messages == ["run abc stays open: the reason"] * 2
