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

from ultralytics_wb_ddp.distributed.processes import Launcher, find_torchrun_children, has_dead_peer, terminate_workers


def test_launcher_that_lives_is_not_gone() -> None:
    parent = psutil.Process(os.getppid())

    assert not replace(Launcher.of_this_process(), pid=parent.pid, started=parent.create_time()).is_lost()
    assert not Launcher.of_this_process().is_lost()


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


def test_process_that_has_got_the_launchers_id_is_another_one() -> None:
    parent = psutil.Process(os.getppid())

    assert replace(Launcher.of_this_process(), pid=parent.pid, started=parent.create_time() - 60).is_lost()


def test_launcher_is_not_gone_because_somebody_has_set_the_clock() -> None:
    parent = psutil.Process(os.getppid())

    assert not replace(Launcher.of_this_process(), pid=parent.pid, started=parent.create_time() - 5).is_lost()


def test_nothing_is_known_of_a_launcher_on_another_host() -> None:
    assert not Launcher("elsewhere", 999_999_999, 0.0).is_lost()


def test_process_that_is_no_worker_has_no_peers_and_no_launches() -> None:
    assert "LOCAL_RANK" not in os.environ
    assert not has_dead_peer()
    assert find_torchrun_children() == []


def test_launch_that_is_ended_leaves_its_exit_code_to_whoever_waits_for_it() -> None:
    launch = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "torch.distributed.run"])

    assert terminate_workers()
    assert not find_torchrun_children()
    assert launch.wait() == -signal.SIGTERM  # 0 would make a success of the training that was ended


def test_worker_prints_to_a_file_once_its_reader_is_gone(tmp_path: Path) -> None:
    script = f"""
import os, pathlib
from ultralytics_wb_ddp.distributed.stdio import keep_output_writable
keep_output_writable(pathlib.Path({str(tmp_path / "output.log")!r}))
print("read", flush=True)
input()
print("unread", flush=True)
print("as well", flush=True)
pathlib.Path({str(tmp_path / "alive")!r}).touch()
"""
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdin
        assert process.stdout.readline() == b"read\n"
        process.stdout.close()
        process.stdin.write(b"\n")
        process.stdin.close()

    assert (tmp_path / "alive").exists()
    assert (tmp_path / "output.log").read_text() == "unread\nas well\n"


# SIGTERM to all processes of a launch: the main thread fails because torchrun has ended, while a run is being finished.
ENDS_FIRST = """
import os, signal, sys, time
from ultralytics_wb_ddp.distributed.signals import on_termination

def main():
    on_termination(lambda: time.sleep(1))
    os.kill(os.getpid(), signal.SIGTERM)
    END

if __name__ == "__main__":
    main()
"""
IN_CHILD = """
import multiprocessing
from first import main

if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=main)
    child.start()
    child.join()
    raise SystemExit(child.exitcode)
"""


@pytest.mark.parametrize("end", ["raise RuntimeError", "sys.exit(1)", "sys.exit(0)", "return"])
@pytest.mark.parametrize("script", ["first.py", "spawned.py"])
def test_process_that_was_terminated_has_its_exit_code_whatever_its_main_thread_does(
    tmp_path: Path, script: str, end: str
) -> None:
    (tmp_path / "first.py").write_text(ENDS_FIRST.replace("END", end))
    (tmp_path / "spawned.py").write_text(IN_CHILD)

    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 143, done.stderr


def test_process_that_was_not_terminated_keeps_its_exit_code(tmp_path: Path) -> None:
    (tmp_path / "first.py").write_text(ENDS_FIRST.replace("END", "sys.exit(3)").replace("os.kill", "print"))

    assert subprocess.run([sys.executable, "first.py"], cwd=tmp_path, check=False).returncode == 3
