"""End the runs and launches of a process that SIGTERM preempts."""

from __future__ import annotations

import contextlib
import threading
import time

from ultralytics_wb_ddp.distributed.processes import has_dead_peer, terminate_workers
from ultralytics_wb_ddp.distributed.signals import SIGTERM_EXIT_CODE
from ultralytics_wb_ddp.runs.lifecycle import FLUSH_TIME, _finishing
from ultralytics_wb_ddp.runs.open_runs import open_runs, user_runs
from ultralytics_wb_ddp.wandb_client.internals import flush, is_attached
from ultralytics_wb_ddp.wandb_client.run_state import is_closed

PREEMPTION_TIMEOUT = 15.0  # seconds that a preempted process takes to finish its runs


def preempt_runs() -> None:
    """Mark the runs that are in use here as preempting, end the launch that goes on, and finish the user's own.

    A run that was opened here is finished by its sidecar, before this process ends: that may be the end of its
    container or its job step, too. Nobody preempts a rank that torchrun terminates because another one has failed: its
    run has failed.
    """
    is_preempted = not has_dead_peer()
    for held in open_runs.values():
        held.exit_code = SIGTERM_EXIT_CODE if is_preempted else 1
        held.service_process.send(preempting=is_preempted, exit_code=held.exit_code)
    for run in [*user_runs.values(), *(held.run for held in open_runs.values())]:
        with contextlib.suppress(Exception):  # the others are still to be served
            if is_preempted and not is_closed(run):
                run.mark_preempting()
    if terminate_workers():  # the launch fails now, and the script deals with it: it may be about to finish the run
        threading.main_thread().join(PREEMPTION_TIMEOUT)
    deadline = time.monotonic() + PREEMPTION_TIMEOUT
    while _finishing.is_set() and time.monotonic() < deadline:
        time.sleep(FLUSH_TIME)
    for run in user_runs.values():
        if not is_closed(run) and not is_attached(run):
            flush(run, flushes_itself=False)
            thread = threading.Thread(target=run.finish, kwargs={"exit_code": SIGTERM_EXIT_CODE}, daemon=True)
            thread.start()
            thread.join(PREEMPTION_TIMEOUT)
    left = [held.service_process for held in open_runs.values()]
    for sidecar in left:
        sidecar.finish_run_now()
    deadline = time.monotonic() + PREEMPTION_TIMEOUT
    for sidecar in left:
        sidecar.wait(max(0.0, deadline - time.monotonic()))
