"""Work beside the training: in order, and with a limit to the wait."""

from __future__ import annotations

import sys
import threading
import time

import pytest

from ultralytics_wb_ddp.utils.threads import BackgroundQueue, preload, run_in_thread


def test_jobs_are_done_in_order_beside_the_caller() -> None:
    background, done = BackgroundQueue("test"), []
    gate = threading.Event()

    background.submit(gate.wait)
    for number in range(3):
        background.submit(lambda number=number: done.append((number, threading.current_thread().name)))
    assert done == []
    gate.set()

    assert background.drain(10)
    assert done == [(number, "test") for number in range(3)]


def test_job_that_hangs_is_not_waited_for_beyond_the_limit() -> None:
    background, gate = BackgroundQueue("test"), threading.Event()
    background.submit(gate.wait)

    assert not background.drain(0.1)
    gate.set()
    assert background.drain(10)


def test_function_in_a_thread_gives_its_result_or_its_error() -> None:
    gate = threading.Event()
    number, failure = run_in_thread("number", lambda: gate.wait() and 7), run_in_thread("failure", lambda: int("seven"))

    assert not number.done()
    gate.set()

    assert number.result(10) == 7
    with pytest.raises(ValueError, match="seven"):
        failure.result(10)


def test_nothing_to_do_takes_no_thread() -> None:
    before = threading.active_count()

    assert BackgroundQueue("test").drain(10)
    assert threading.active_count() == before


def test_job_may_wait_for_the_others_without_waiting_for_itself() -> None:
    background, settled = BackgroundQueue("test"), []

    background.submit(lambda: settled.append(background.drain(10)))

    assert background.drain(5)
    assert settled == [True]


def test_module_is_imported_early_and_a_missing_one_is_no_error() -> None:
    sys.modules.pop("colorsys", None)

    preload("there_is_no_such_module", "colorsys")

    deadline = time.monotonic() + 10
    while "colorsys" not in sys.modules and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "colorsys" in sys.modules
