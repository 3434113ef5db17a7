"""Launchers as their workers see them."""

from __future__ import annotations

import os
from dataclasses import replace

import psutil

from ultralytics_wb_ddp.distributed.processes import Launcher, find_torchrun_children, has_dead_peer


def test_launcher_that_lives_is_not_gone() -> None:
    parent = psutil.Process(os.getppid())

    assert not replace(Launcher.of_this_process(), pid=parent.pid, started=parent.create_time()).is_lost()
    assert not Launcher.of_this_process().is_lost()


def test_process_that_has_got_the_launchers_id_is_another_one() -> None:
    parent = psutil.Process(os.getppid())

    assert replace(Launcher.of_this_process(), pid=parent.pid, started=parent.create_time() - 60).is_lost()


def test_launcher_is_not_gone_because_the_clock_was_set() -> None:
    parent = psutil.Process(os.getppid())

    assert not replace(Launcher.of_this_process(), pid=parent.pid, started=parent.create_time() - 5).is_lost()


def test_nothing_is_known_of_a_launcher_on_another_host() -> None:
    assert not Launcher("elsewhere", 999_999_999, 0.0).is_lost()


def test_process_that_is_no_worker_has_no_peers_and_no_launches() -> None:
    assert "LOCAL_RANK" not in os.environ
    assert not has_dead_peer()
    assert find_torchrun_children() == []
