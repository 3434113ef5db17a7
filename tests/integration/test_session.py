"""Opening runs with the real client while W&B is away, and the cost of an opening."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import wandb

from support.jobs import RunJob
from ultralytics_wb_ddp import WandbManager
from ultralytics_wb_ddp.wandb_client.run_file import find_run_files, read_run

# Nothing listens on port 9 of this machine.
NO_SERVER = {
    "WANDB_MODE": "online",
    "WANDB_BASE_URL": "http://127.0.0.1:9",
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "WANDB_ERROR_REPORTING": "false",
}


@pytest.fixture
def _no_server(no_s3: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:  # noqa: ARG001
    for name, value in NO_SERVER.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    wandb.teardown()


@pytest.mark.usefixtures("_no_server")
def test_run_is_written_to_disk_where_wandb_cannot_be_reached(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with WandbManager({"wandb": {"project": "demo", "init_timeout": 2}}, "job") as manager:
        assert manager.run.offline
        manager.prepare_for_training()
        manager.run.log({"x": 1})
    wandb.teardown()

    kept = next(run for run in map(read_run, find_run_files(tmp_path)) if run.history)
    assert kept.state == "finished"
    assert f"ultralytics-wb-ddp sync {kept.path.parent}" in caplog.text


@pytest.mark.parametrize(
    ("options", "variables", "error", "message"),
    [
        ({}, {"WANDB_API_KEY": ""}, wandb.errors.UsageError, "wandb login"),
        ({"init_timeout": 2}, {}, TimeoutError, "^no answer within 2 s"),
    ],
    ids=["no-key", "no-answer"],
)
@pytest.mark.usefixtures("_no_server")
def test_run_that_cannot_be_opened_is_an_error_where_that_is_wanted(
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, int],
    variables: dict[str, str],
    error: type[Exception],
    message: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    manager = WandbManager({"wandb": {"project": "demo", "on_error": "raise", **options}}, "job")

    with pytest.raises(error, match=message):
        manager.initialize()


@pytest.mark.usefixtures("no_s3")
def test_row_is_on_disk_within_a_second(tmp_path: Path) -> None:
    wandb.teardown()
    section: dict[str, Any] = {"project": "demo", "mode": "offline", "dir": str(tmp_path)}
    with WandbManager({"wandb": section}, "job") as manager:
        manager.run.log({"x": 1})
        time.sleep(1.5)
        on_disk = [row["x"] for row in read_run(Path(manager.run.dir).parent).history]

    assert on_disk == [1]


def test_run_is_opened_without_a_second_of_imports_that_only_launch_needs(run_job: RunJob) -> None:
    job = run_job("launch_inputs.py", "open_two_runs")

    assert "imported at once: False" in job.output
    assert "applied: True" in job.output
