"""Settings of a training on a laptop."""

from __future__ import annotations

from pathlib import Path

import pytest

from ultralytics_wb_ddp.testing.cpu_trainers import CpuDDPTrainer, cpu_settings


def test_settings_for_a_laptop_leave_out_the_device_of_processes_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    two, one, given = cpu_settings(), cpu_settings("cpu"), cpu_settings(None)

    assert two == {**given, "device": "0,1"}
    assert one == {**given, "device": "cpu"}
    assert (given["data"], given["trainer"]) == (str(tmp_path / "shapes/data.yaml"), CpuDDPTrainer)
