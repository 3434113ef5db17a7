"""The campaign of random faults: it finds the processes of a job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from chaos import processes


def test_processes_of_a_job_are_found_with_those_that_they_have_started() -> None:
    command = [sys.executable, "-c", "import subprocess; subprocess.run(['sleep', '60'])"]
    launcher = subprocess.Popen(command, env={**os.environ, processes.VARIABLE: "a-job"})
    try:
        found = _find_processes("a-job", launcher.pid, 2)
    finally:
        for process in processes.find("a-job", launcher.pid):
            os.kill(process.pid, signal.SIGKILL)
        launcher.wait()

    assert {process.role for process in found} == {"launcher", "other"}
    assert processes.find("another", launcher.pid) == []
    assert _find_processes("a-job", launcher.pid, 0) == []


def _find_processes(job: str, launcher: int, count: int) -> list[processes.Found]:
    """Return the processes of a job as soon as they are that many: they start, and end by a signal, a moment later."""
    deadline = time.monotonic() + 20
    while len(found := processes.find(job, launcher)) != count and time.monotonic() < deadline:
        time.sleep(0.05)
    return found
