"""Launcher and workers as they see each other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from support.jobs import RunJob, scenario_environment
from support.paths import SCENARIOS
from ultralytics_wb_ddp.distributed.processes import Launcher, find_torchrun_children, terminate_workers

SCENARIO = SCENARIOS / "ending_processes.py"


def test_launcher_that_has_ended_is_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        launcher = replace(
            Launcher.of_this_process(), pid=process.pid, started=psutil.Process(process.pid).create_time()
        )
        assert not launcher.is_lost()
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert launcher.is_lost(), "a zombie"
    assert launcher.is_lost()


def test_launch_that_is_ended_leaves_its_exit_code_to_its_parent() -> None:
    launch = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "torch.distributed.run"])

    assert terminate_workers()
    assert not find_torchrun_children()
    assert launch.wait() == -signal.SIGTERM  # 0 would make a success of the training that was ended


def test_worker_prints_to_a_file_once_its_reader_is_gone(tmp_path: Path) -> None:
    command = [sys.executable, str(SCENARIO), "print_beyond_the_reader", str(tmp_path)]
    environment = scenario_environment(tmp_path, tmp_path, {})
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdin
        assert process.stdout.readline() == b"read\n"
        process.stdout.close()
        process.stdin.write(b"\n")
        process.stdin.close()

    assert (tmp_path / "alive").exists()
    assert (tmp_path / "output.log").read_text() == "unread\nas well\n"


# SIGTERM to all processes of a launch: the main thread fails because torchrun has ended, while a run is being finished.


@pytest.mark.parametrize("end", ["raise", "1", "0", "return"])
@pytest.mark.parametrize("function", ["terminate_itself", "terminate_itself_in_a_child"])
def test_process_that_was_terminated_has_its_exit_code_whatever_its_main_thread_does(
    run_job: RunJob, function: str, end: str
) -> None:
    job = run_job(SCENARIO.name, function, end, check=False)

    assert job.exit_code == 143, job.output


def test_process_that_was_not_terminated_keeps_its_exit_code(run_job: RunJob) -> None:
    assert run_job(SCENARIO.name, "exit_by_itself", check=False).exit_code == 3
