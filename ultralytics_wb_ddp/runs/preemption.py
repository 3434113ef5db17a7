"""End the runs and launches of a process that SIGTERM preempts."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Any

from ultralytics_wb_ddp.distributed.processes import has_dead_peer, is_worker, terminate_workers
from ultralytics_wb_ddp.distributed.signals import SIGTERM_EXIT_CODE
from ultralytics_wb_ddp.runs.open_runs import Termination, log_sync_command, registry
from ultralytics_wb_ddp.runs.service_process import ServiceProcess
from ultralytics_wb_ddp.utils.logging import logger
from ultralytics_wb_ddp.wandb_client.internals import flush, is_attached
from ultralytics_wb_ddp.wandb_client.run_state import get_run_dir, is_closed, sync_command

PREEMPTION_TIMEOUT = 15.0  # seconds that a preempted process takes to finish its runs
SAVE_TIMEOUT = 5.0  # seconds that an epoch may take to be saved and logged
POLL_INTERVAL = 0.1  # seconds between two checks of runs that are being opened or finished


def preempt_runs() -> None:
    """Mark runs as preempting, end the workers, and finish the runs.

    The service process of a run that this package opened finishes the run before this process ends, because the
    container or the job step may end with it. If torchrun terminates this rank because another rank failed, the rank
    is not preempted: its run has failed. If the other rank was terminated, the job is preempted.
    """
    exit_code = _failed_exit_code() if has_dead_peer() else SIGTERM_EXIT_CODE
    is_preempted = exit_code == SIGTERM_EXIT_CODE
    if is_worker() and registry.launcher_run and not registry.trainings:
        registry.launcher_run.report_early_end(exit_code)
    registry.terminate(Termination(exit_code, is_preempted))
    for open_run in [*registry.opened.values()]:  # SIGTERM may reach wandb-core, too
        with suppress(Exception):
            flush(open_run.run, flushes_itself=False)
    if terminate_workers():  # the launch fails now, and the script may finish the run when it handles that
        threading.main_thread().join(PREEMPTION_TIMEOUT)
    deadline = time.monotonic() + PREEMPTION_TIMEOUT
    while registry.is_changing and time.monotonic() < deadline:
        time.sleep(POLL_INTERVAL)
    deadline = time.monotonic() + SAVE_TIMEOUT
    while any(training.is_epoch_being_saved for training in registry.trainings) and time.monotonic() < deadline:
        time.sleep(POLL_INTERVAL)
    for run in [*registry.user_runs.values()]:
        if not is_closed(run) and not is_attached(run):
            flush(run, flushes_itself=False)
            thread = threading.Thread(target=run.finish, kwargs={"exit_code": SIGTERM_EXIT_CODE}, daemon=True)
            thread.start()
            thread.join(PREEMPTION_TIMEOUT)
    _finish_opened_runs(exit_code, is_preempted=is_preempted)


def _finish_opened_runs(exit_code: int, *, is_preempted: bool) -> None:
    """Have the service processes finish the runs that this package opened, and wait for them."""
    open_runs = registry.take_all()
    for open_run in open_runs:
        log_sync_command(open_run.run)
        if not open_run.service_process.has_core:
            open_run.save_recent(open_run, exit_code)
            if not open_run.run.offline:
                msg = "run %s: its wandb-core was killed; what W&B has not got is on disk, send it with: %s"
                logger.warning(msg, open_run.run.id, sync_command(get_run_dir(open_run.run)))
    service_processes: list[Any] = [open_run.service_process for open_run in open_runs]
    for watcher in ServiceProcess.watchers():
        with suppress(ConnectionError):  # its wandb-core did not start
            watcher.wait_until_ready()
            watcher.send(preempting=is_preempted, exit_code=exit_code)
            service_processes.append(watcher)
    for service_process in service_processes:
        service_process.finish_run_now()
    deadline = time.monotonic() + PREEMPTION_TIMEOUT
    for service_process in service_processes:
        service_process.wait(max(0.0, deadline - time.monotonic()))


def _failed_exit_code() -> int:
    """Return the exit code of the rank that has failed, and report it to the launcher."""
    trainings = [*registry.trainings]
    exit_code = next(filter(None, (training.failed_exit_code() for training in trainings)), registry.failed_exit_code)
    for training in trainings:
        training.report_exit_code(exit_code)
    return exit_code
