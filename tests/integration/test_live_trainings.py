"""The record of a training that still goes on in another process."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from support.jobs import scenario_environment
from support.paths import SCENARIOS
from ultralytics_wb_ddp import ConfigurationError
from ultralytics_wb_ddp.runs import run_record as record_module
from ultralytics_wb_ddp.runs.run_record import RunRecord


@pytest.mark.parametrize("is_worker", [True, False])
def test_training_that_goes_on_in_a_worker_is_not_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_worker: bool
) -> None:
    monkeypatch.setattr(record_module, "TRAINING_END_TIMEOUT", 0.2)
    environment = scenario_environment(tmp_path, tmp_path, {"LOCAL_RANK": "0"} if is_worker else {})
    command = [sys.executable, str(SCENARIOS / "live_trainings.py"), "train_for_a_minute", str(tmp_path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "saved\n"
        record = RunRecord.find(tmp_path, None)
        assert record
        assert record.live_training_pid() == process.pid
        said = pytest.raises(
            ConfigurationError, match=f"still goes on in process {process.pid}, .* 'kill {process.pid}'"
        )
        with said if is_worker else nullcontext():  # a script may do other things after its training
            record.check_not_running()
        process.kill()

    assert record.live_training_pid() is None
    record.check_not_running()
