"""The process beside the one that logs, which holds the run's wandb-core; with the real one."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil

from ultralytics_wb_ddp.runs.service_process import ServiceProcess


def test_sidecar_that_was_started_early_is_taken_by_one_who_asks() -> None:
    ServiceProcess.prestart(11.0)

    first, second = ServiceProcess.get(11.0), ServiceProcess.get(11.0)

    try:
        assert first.token
        assert second.token
        assert first.pid != second.pid, "two runs have a wandb-core each"
    finally:
        assert first.shut_down(30)
        assert second.shut_down(30)


def test_sidecar_that_nobody_asks_for_ends_with_its_process() -> None:
    code = "from ultralytics_wb_ddp.runs.service_process import ServiceProcess; ServiceProcess.prestart(60.0); import time; time.sleep(1)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    words = ["ultralytics_wb_ddp.runs.service_process", "60.0", str(process.pid)]
    process.wait(30)

    def is_beside(other: psutil.Process) -> bool:
        try:
            return all(word in other.cmdline() for word in words)
        except psutil.Error:
            return False

    psutil.wait_procs(beside := [other for other in psutil.process_iter() if is_beside(other)], timeout=20)
    assert not any(other.is_running() and other.status() != psutil.STATUS_ZOMBIE for other in beside)
