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
    """Mark runs as preempting, end the workers, and finish the runs.

    The service process of a run that this package opened finishes the run before this process ends, because the
    container or the job step may end with it. If torchrun terminates this rank because another rank failed, the rank
    is not preempted: its run has failed.
    """
    is_preempted = not has_dead_peer()
    for open_run in open_runs.values():
        open_run.exit_code = SIGTERM_EXIT_CODE if is_preempted else 1
        open_run.service_process.send(preempting=is_preempted, exit_code=open_run.exit_code)
    for run in [*user_runs.values(), *(open_run.run for open_run in open_runs.values())]:
        with contextlib.suppress(Exception):  # an error of one run must not keep the others from being marked
            if is_preempted and not is_closed(run):
                run.mark_preempting()
    if terminate_workers():  # the launch fails now, and the script may finish the run when it handles that
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
    service_processes = [open_run.service_process for open_run in open_runs.values()]
    for service_process in service_processes:
        service_process.finish_run_now()
    deadline = time.monotonic() + PREEMPTION_TIMEOUT
    for service_process in service_processes:
        service_process.wait(max(0.0, deadline - time.monotonic()))
