"""Modules that the settings of a distributed training load."""

from __future__ import annotations

import subprocess
import sys


def test_settings_and_training_are_imported_without_torch() -> None:
    code = "from ultralytics_wb_ddp import ParallelConfig, train_distributed; import sys; print('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout == b"False\n"
