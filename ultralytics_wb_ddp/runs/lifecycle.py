"""Open and close runs, within time limits and without losing rows."""

from __future__ import annotations

import os
import secrets
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config.options import RunOptions
from ultralytics_wb_ddp.distributed.processes import is_worker
from ultralytics_wb_ddp.distributed.signals import SIGTERM_EXIT_CODE, is_terminated_within, on_termination
from ultralytics_wb_ddp.runs import journal
from ultralytics_wb_ddp.runs.handoff import Handoff, write_handback
from ultralytics_wb_ddp.runs.open_runs import (
    OpenRun,
    block_finish,
    log_sync_command,
    mark_if_preempted,
    registry,
    unblock_finish,
)
from ultralytics_wb_ddp.runs.preemption import preempt_runs
from ultralytics_wb_ddp.runs.run_record import BEST_DIRECTION
from ultralytics_wb_ddp.runs.service_process import BorrowedServiceProcess, ServiceProcess
from ultralytics_wb_ddp.runs.stop_button import handle_stop_request
from ultralytics_wb_ddp.runs.trial_env import get_wandb_sweep_id, hide_sweep_variables, is_trial_run
from ultralytics_wb_ddp.runs.unsent_sessions import send_session, send_unsent_sessions
from ultralytics_wb_ddp.utils.errors import exit_code_of
from ultralytics_wb_ddp.utils.logging import format_exception, logger, pluralize
from ultralytics_wb_ddp.wandb_client.internals import (
    disable_server_queries,
    disconnect_service,
    flush,
    forward_console,
    has_finish_timed_out,
    has_upload_failed,
    no_login_prompt,
    set_files_dir,
    shorten_table_names,
    stop_finalizer_thread,
    supported_settings,
    use_service,
)
from ultralytics_wb_ddp.wandb_client.run_state import (
    get_next_step,
    get_run_dir,
    is_closed,
    sync_command,
    wandb_run,
)
from ultralytics_wb_ddp.wandb_client.server import ROW_COUNT_LAG
from ultralytics_wb_ddp.wandb_client.storage import ensure_writable_directories, find_writable_dir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager


OFFLINE_INIT_TIMEOUT = 60.0  # seconds that a run may take to open on disk
CLIENT_GRACE = 2.0  # seconds beyond wandb's own limit, after which wandb-core is killed
# Seconds by which the SIGTERM of a worker may follow the error that the end of another worker causes in it, and seconds
# that its thread may take to act.
SIGTERM_DELAY, TERMINATION_TIMEOUT = 1.0, 10.0
FLUSH_TIME = 0.5  # seconds that wandb-core takes to write the received records


@dataclass(frozen=True)
class SharedRunWriter:
    """One of several writers of a run in W&B's shared mode.

    Attributes:
        label: Name of the writer, unique in the run.
        primary: Whether the writer keeps the run's own files.
        ends_run: Whether the run ends with this writer.
        measures: Whether the writer measures the machine. One writer of each node does.
        service: Token of another process's wandb-core on this node. None starts one.
    """

    label: str
    primary: bool
    ends_run: bool
    measures: bool
    service: str | None = None

    def settings(self) -> dict[str, Any]:
        """Return the settings for ``wandb.init``."""
        return {
            "x_label": self.label,
            "x_primary": self.primary,
            "x_update_finish_state": self.ends_run,
            "x_disable_stats": not self.measures,
        }


def init_run(options: RunOptions, *, run_id: str | None, resume: str | None, **init: Any) -> Any:
    """Open a run with ``wandb.init``, in a wandb-core of its own.

    If W&B refuses, is not reachable or does not answer in time, the session is written to disk under the same id. A
    message then names the command that sends it.

    Args:
        options: Options of the run. With ``on_error="raise"`` no session is written to disk instead.
        run_id: Id of the run. None creates an id.
        resume: As in ``wandb.init``.
        **init: Further arguments of ``wandb.init``. ``writer``, a :class:`SharedRunWriter`, opens the run in shared
            mode.

    Returns:
        The ``wandb.Run``.

    Raises:
        wandb.errors.Error: W&B refuses or cannot be reached, with ``on_error="raise"``.
        TimeoutError: It has not answered within ``options.init_timeout`` seconds, with ``on_error="raise"``.
    """
    run_id = run_id or secrets.token_hex(4)
    try:
        return _init(options, run_id=run_id, resume=resume, **init)
    except Exception as error:
        if options.on_error == "raise" or options.mode == "offline":
            raise
        reason = f"W&B cannot be used ({format_exception(error).splitlines()[0]})"
    return _init_offline(options, reason, run_id=run_id, **init)


def resume_run(options: RunOptions, handoff: Handoff, resume: str, *, hands_back: bool = False, **init: Any) -> Any:
    """Reopen a closed run once the service has counted its rows.

    The service counts rows 2 to 4 s after their arrival (wandb#12421). A session that resumes earlier destroys rows.
    So the run is reopened 5 s after it was closed at the earliest. If the session still starts at a step that is too
    low, it is closed again before it has written a row.

    Args:
        options: Options of the run.
        handoff: The run, and the step after its last row.
        resume: As in ``wandb.init``.
        hands_back: Whether the launcher takes the run back: the session's end is reported in the handback file.
        **init: Further arguments of ``wandb.init``.

    Returns:
        The ``wandb.Run``.
    """
    run = _resume_run(options, handoff, resume, **init)
    open_run = registry.opened.get(run.id)
    if hands_back and handoff.handback_file and open_run:
        open_run.handback_file = handoff.handback_file
        write_handback(handoff.handback_file, pid=open_run.service_process.pid)
        open_run.service_process.send(handback_file=str(handoff.handback_file))
    return run


def _resume_run(options: RunOptions, handoff: Handoff, resume: str, **init: Any) -> Any:
    mode = options.mode or os.environ.get("WANDB_MODE") or "online"
    if mode in {"online", "shared"}:
        send_unsent_sessions(handoff.journals, handoff.run_id)
    if init.get("writer"):  # the service keeps the rows of each writer apart
        return init_run(options, run_id=handoff.run_id, resume=resume, **init)
    if handoff.closed_at and handoff.mode != "offline":
        time.sleep(min(max(0.0, handoff.closed_at + ROW_COUNT_LAG - time.time()), ROW_COUNT_LAG))
    deadline, pause = time.monotonic() + options.init_timeout, 0.5
    while True:
        run = init_run(options, run_id=handoff.run_id, resume=resume, **init)
        if run.offline or run.disabled or run.starting_step >= handoff.next_step:
            return run
        if not handoff.is_complete and handoff.is_probably_counted():
            missing = handoff.next_step - run.starting_step
            rows = pluralize(missing, "row")
            logger.warning("run %s continues without %s that its last session did not send", run.id, rows)
            return run
        finish_run(run, 0)
        pause *= 2
        if time.monotonic() + pause > deadline:
            reason = f"W&B has counted {run.starting_step} of {handoff.next_step} steps of run {run.id}"
            return _init_offline(options, reason, run_id=handoff.run_id, **init)
        time.sleep(pause)


def _init_offline(options: RunOptions, reason: str, *, run_id: str, **init: Any) -> Any:
    """Open a run offline and log the command that sends it.

    W&B appends the part to the rows of the run only with ``resume="allow"``.
    """
    init.pop("writer", None)
    run = _init(replace(options, mode="offline"), run_id=run_id, resume="allow", **init)
    logger.warning("%s: run %s is written to disk, send it with: %s", reason, run.id, sync_command(get_run_dir(run)))
    return run


def _init(
    options: RunOptions, *, run_id: str, resume: str | None, writer: SharedRunWriter | None = None, **init: Any
) -> Any:
    """Call ``wandb.init`` in a service process. Kill the process if it does not answer in time."""
    on_termination(preempt_runs)  # SIGTERM may arrive while the run is being opened
    options = replace(options, dir=find_writable_dir(options.dir, run_id))
    ensure_writable_directories(Path(options.dir or os.environ.get("WANDB_DIR") or ".", "wandb"))
    borrowed = BorrowedServiceProcess(writer.service) if writer and writer.service else None
    service_process = borrowed or ServiceProcess.get(options.finish_timeout)
    with registry.changing(service_process):
        try:
            run = _init_in(service_process, options, run_id=run_id, resume=resume, writer=writer, **init)
        except BaseException:
            registry.discard(service_process)
            raise
        if run.disabled:
            registry.discard(service_process)
        else:
            open_run = OpenRun(run, options, service_process, save_recent=_save_recent_data)
            registry.add(open_run)
            open_run.record_opening()
    return run


def _init_in(
    service_process: ServiceProcess | BorrowedServiceProcess,
    options: RunOptions,
    *,
    run_id: str,
    resume: str | None,
    writer: SharedRunWriter | None,
    **init: Any,
) -> Any:
    import wandb

    def give_up() -> None:
        stop_finalizer_thread()
        service_process.kill()

    if wandb_run() is not None:  # otherwise wandb.init returns the active run
        init["reinit"] = "create_new"
    expired = threading.Event()
    # Offline the limit is higher: only this machine is waited for. It may be busy, and no other mode is left to try.
    late = f"no answer within {options.init_timeout:g} s"
    limit = max(options.init_timeout, OFFLINE_INIT_TIMEOUT) if options.mode == "offline" else options.init_timeout
    try:
        run_key = {} if is_trial_run(run_id) else {"project": options.project, "entity": options.entity, "id": run_id}
        with (
            _deadline(limit, expired, give_up),
            hide_sweep_variables(run_id),
            _use_service(service_process, run_id, writer),
            no_login_prompt(),
        ):
            run = wandb.init(
                **run_key,
                name=options.name,
                group=options.group,
                job_type=options.job_type,
                tags=options.tags,
                notes=options.notes,
                mode="shared" if writer and options.mode != "disabled" else options.mode,
                dir=options.dir,
                resume=resume,
                settings=_settings(options, {**(writer.settings() if writer else {}), **init.pop("settings", {})}),
                **init,
            )
    except BaseException as error:
        if isinstance(error, Exception):
            service_process.kill()
        else:  # Ctrl-C: W&B may know the run already, so its end is sent
            service_process.send(exit_code=exit_code_of(error))
            service_process.shut_down(CLIENT_GRACE)
        if expired.is_set():
            raise TimeoutError(late) from error
        raise
    if expired.is_set():  # the answer came just after the limit
        raise TimeoutError(late)
    if run.disabled:
        disconnect_service(service_process.token)
        service_process.kill()
        return run
    disable_server_queries(run)
    forward_console(run)
    shorten_table_names(run)
    service_process.send(run_id=run.id)
    return run


def _use_service(
    service_process: ServiceProcess | BorrowedServiceProcess, run_id: str, writer: SharedRunWriter | None
) -> AbstractContextManager[None]:
    """Make wandb use a service process. In a borrowed one, each writer of a run needs a stream of its own."""
    stream = f"{run_id}-{writer.label}" if writer and isinstance(service_process, BorrowedServiceProcess) else None
    return use_service(service_process.token, stream)


@contextmanager
def _deadline(seconds: float, expired: threading.Event, give_up: Callable[[], None]) -> Iterator[None]:
    """Set ``expired`` and call ``give_up`` if the body takes longer than ``seconds``."""

    def expire() -> None:
        expired.set()
        give_up()

    watchdog = threading.Timer(seconds, expire)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()


def _settings(options: RunOptions, extra: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that this release of wandb knows."""
    settings = {
        "init_timeout": options.init_timeout,
        "finish_timeout": options.finish_timeout,
        "x_transaction_log_flush_interval": options.flush_interval,
        "stop_fn": handle_stop_request,
        **extra,
    }
    return {name: value for name, value in settings.items() if name in supported_settings()}


def finish_run(run: Any, exit_code: int) -> None:
    """Finish a run that :func:`init_run` opened, within its ``finish_timeout``.

    A second call does nothing. If records could not be sent in time, they are on disk, and a message names the command
    that sends them.

    Args:
        run: The ``wandb.Run``.
        exit_code: Exit code of the run. The exit code of a signal comes before it.
    """
    unblock_finish(run)
    if exit_code and is_worker() and is_terminated_within(SIGTERM_DELAY):
        registry.wait_until_terminated(TERMINATION_TIMEOUT)
    if registry.is_taken_over(run.id):
        return
    open_run = registry.opened.get(run.id)
    if open_run is None:
        if not is_closed(run):
            run.finish(exit_code=exit_code)
        return
    with registry.changing(open_run.service_process):
        if registry.take(run.id):
            _finish_open_run(open_run, exit_code)
    registry.discard(open_run.service_process)


def _finish_open_run(open_run: OpenRun, exit_code: int) -> None:
    run, timeout = open_run.run, open_run.options.finish_timeout
    exit_code = registry.true_exit_code(exit_code)
    deadline = time.monotonic() + timeout
    is_complete, is_core_lost = _end_session(open_run, exit_code)
    if is_core_lost:
        _save_recent_data(open_run, exit_code)
    log_sync_command(run)
    if is_core_lost and not run.offline:
        reason = send_session(get_run_dir(run), max(1.0, deadline - time.monotonic()))
        if reason:
            msg = "run %s: its wandb-core was killed, and W&B has not got all data (%s); send it with: %s"
            logger.warning(msg, run.id, reason, sync_command(get_run_dir(run)))
    elif not is_complete:
        reason = "W&B has refused its data" if has_upload_failed(run) else f"it takes longer than {timeout:g} s"
        msg = "run %s could not be sent completely (%s): what is missing is on disk, send it with: %s"
        logger.warning(msg, run.id, reason, sync_command(get_run_dir(run)))


def _end_session(open_run: OpenRun, exit_code: int) -> tuple[bool, bool]:
    """End a session of a run, and record how it has ended.

    Returns:
        Whether all records were sent, or are on disk if the run is offline, and whether its wandb-core was killed.
    """
    run, service_process, timeout = open_run.run, open_run.service_process, open_run.options.finish_timeout
    mark_if_preempted(run, exit_code)
    next_step = get_next_step(run) if service_process.has_core else 0
    deadline = time.monotonic() + timeout
    service_process.send(closing=True, exit_code=exit_code, next_step=next_step)
    is_sent, is_core_lost = False, not service_process.has_core
    try:
        is_sent = not is_core_lost and (is_closed(run) or _finish_in_time(run, exit_code, service_process, timeout))
    except Exception:
        is_core_lost = not service_process.has_core
        if not is_core_lost:
            raise
    finally:
        disconnect_service(service_process.token)
        if is_core_lost:
            service_process.kill()
        is_written = service_process.shut_down(max(1.0, deadline - time.monotonic()))
        if open_run.handback_file:
            write_handback(open_run.handback_file, next_step=next_step, exit_code=exit_code)
    is_complete = is_sent and is_written
    journal.record_end(
        open_run.journals,
        get_run_dir(run),
        exit_code=exit_code,
        next_step=next_step,
        is_sent=is_complete and not run.offline,
        is_preempted=exit_code == SIGTERM_EXIT_CODE,
    )
    return is_complete, is_core_lost


def _save_recent_data(open_run: OpenRun, exit_code: int) -> None:
    """Write the last rows and artifacts of a run to disk that its killed wandb-core has not written.

    They are in a session of their own, which ends the run as the lost one would have ended it.

    Args:
        open_run: The run, which is not in the registry any more.
        exit_code: Exit code of the run.
    """
    run, recent, folder = open_run.run, open_run.recent, get_run_dir(open_run.run)
    if recent is None or recent.is_written(folder):
        return
    try:
        options = replace(open_run.options, project=run.project or None, entity=run.entity or None)
        recent.log_again(open_on_disk(run, options, *open_run.journals), folder)
    except Exception as error:  # noqa: BLE001  # the disk may be full, too
        msg = "run %s: its wandb-core was killed, and its last rows could not be written to disk: %s"
        logger.warning(msg, run.id, format_exception(error))
    if continued := registry.take(run.id):
        _end_session(continued, exit_code)
        registry.discard(continued.service_process)


def open_on_disk(lost: Any, options: RunOptions, *journals: Path) -> Any:
    """Open a further session of a run on disk, after the end of its wandb-core.

    Args:
        lost: The ``wandb.Run`` of the session that has ended.
        options: Project, entity, directory and limits of the run.
        *journals: Directories of the journals that describe both sessions.

    Returns:
        The ``wandb.Run`` of the new session.
    """
    place = RunOptions(project=options.project, entity=options.entity, mode="offline", dir=options.dir)
    run = init_run(replace(place, finish_timeout=options.finish_timeout), run_id=lost.id, resume="allow")
    journal.record([get_run_dir(run)], get_run_dir(lost), id=lost.id)
    registry.opened[lost.id].record_opening(get_run_dir(lost), *journals)
    return run


def give_up_run(run: Any) -> None:
    """Give up a run whose wandb-core was killed. What it has written to disk is sent later.

    Args:
        run: The ``wandb.Run``.
    """
    folder, open_run = get_run_dir(run), registry.take(run.id)
    if open_run:
        disconnect_service(open_run.service_process.token)
        open_run.service_process.kill()
        registry.discard(open_run.service_process)
    journals = open_run.journals if open_run else (folder,)
    journal.record_end(journals, folder, exit_code=1, next_step=0, is_sent=False)


def _finish_in_time(
    run: Any, exit_code: int, service_process: ServiceProcess | BorrowedServiceProcess, timeout: float
) -> bool:
    """Finish a run and return whether all records were sent.

    wandb itself has a limit. If it exceeds that limit by ``CLIENT_GRACE``, its wandb-core is killed.
    """

    def give_up() -> None:
        flush(run, flushes_itself=False)
        time.sleep(FLUSH_TIME)
        service_process.kill()

    flush(run, flushes_itself=False)
    expired = threading.Event()
    try:
        with _deadline(timeout + CLIENT_GRACE, expired, give_up):
            run.finish(exit_code=exit_code)
    except Exception:
        if not expired.is_set():
            raise
    return not expired.is_set() and not has_finish_timed_out(run) and not has_upload_failed(run)


def attach(handoff: Handoff) -> Any:
    """Attach to a run that is open in the launcher. This process must not finish it.

    Args:
        handoff: The run.

    Returns:
        The ``wandb.Run``.

    Raises:
        ConnectionError: The run is not open in the launcher any more.
    """
    import wandb

    try:
        with use_service(handoff.service or os.environ.get("WANDB_SERVICE", "")):
            run = wandb.attach(handoff.run_id)
        if handoff.files_dir:
            set_files_dir(run, handoff.files_dir)
        disable_server_queries(run)
        block_finish(run, "it is the launcher's, which finishes it after the training")
        return run  # noqa: TRY300
    except Exception as error:
        msg = (
            f"run {handoff.run_id!r} is not open in the launcher any more ({error}); "
            "call prepare_for_training() if you close it before the training"
        )
        raise ConnectionError(msg) from error


def define_metrics(run: Any) -> None:
    """Define the metrics' axes and their best values in the summary.

    Every session must define them again, because W&B drops the definitions when it resumes a run. In a sweep the
    summary keeps W&B's last value, which is a number. The best value is stored one level deeper in the summary, where
    a sweep does not find its objective.

    Args:
        run: The ``wandb.Run``.
    """
    for prefix, best in BEST_DIRECTION.items():
        run.define_metric(f"{prefix}/*", step_metric="epoch", summary=None if get_wandb_sweep_id() else best)
    run.define_metric("batch/*", step_metric="batch")
