"""The runs that are open in this process."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config.options import OFFLINE_MODES
from ultralytics_wb_ddp.config.validation import ConfigurationError
from ultralytics_wb_ddp.distributed.signals import SIGTERM_EXIT_CODE
from ultralytics_wb_ddp.runs.handoff import Handoff, exit_code_of_launch
from ultralytics_wb_ddp.runs.journal import parts_beside, record_end, record_opening
from ultralytics_wb_ddp.runs.stop_button import install_stop_handler
from ultralytics_wb_ddp.utils.logging import EVERY_RANK, logger
from ultralytics_wb_ddp.wandb_client.internals import (
    call_after_teardown,
    disable_server_queries,
    has_finish_timed_out,
    has_upload_failed,
    is_attached,
    is_finish_wrapped,
    replace_finish,
    restore_finish,
    wrap_finish,
)
from ultralytics_wb_ddp.wandb_client.run_state import (
    get_next_step,
    get_run_dir,
    is_closed,
    is_shared,
    sync_command,
    wandb_run,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ultralytics_wb_ddp.config.options import RunOptions
    from ultralytics_wb_ddp.runs.recent_data import RecentData
    from ultralytics_wb_ddp.runs.run_record import RunRecord
    from ultralytics_wb_ddp.runs.service_process import BorrowedServiceProcess, ServiceProcess


@dataclass
class OpenRun:
    """An unfinished run that :func:`init_run` opened in this process.

    Attributes:
        run: The ``wandb.Run``.
        options: The options that the run was opened with.
        service_process: The process that holds the run's wandb-core.
        handback_file: File by which the launcher learns how this session of the run ended.
        journals: Directories of the journals that describe this session.
        recent: The last rows and artifacts of the training or program that has logged to the run, if there was one.
        save_recent: Function that writes these to disk with an exit code, if the killed wandb-core has not.
    """

    run: Any
    options: RunOptions
    service_process: ServiceProcess | BorrowedServiceProcess
    handback_file: Path | None = None
    journals: tuple[Path, ...] = ()
    recent: RecentData | None = None
    save_recent: Callable[[OpenRun, int], None] = lambda *_: None

    def record_opening(self, *journals: Path) -> None:
        """Record this session in its own folder, in the journals that it knows and in further ones.

        Args:
            *journals: Directories of further journals.
        """
        folder = get_run_dir(self.run)
        self.journals = tuple(dict.fromkeys((folder, *self.journals, *journals)))
        mode = "offline" if self.run.offline else "shared" if is_shared(self.run) else "online"
        record_opening(
            self.journals,
            folder,
            self.run.id,
            mode=mode,
            first_step=int(self.run.starting_step or 0),
            service_pid=self.service_process.pid,
        )
        places = [str(journal.absolute()) for journal in self.journals]
        self.service_process.send(journals=places, is_online=not self.run.offline)


@dataclass(frozen=True)
class Termination:
    """The end of this process by SIGTERM.

    Attributes:
        exit_code: Exit code of the runs.
        is_preempted: Whether the machine takes the process away. False if another rank has failed.
    """

    exit_code: int
    is_preempted: bool

    def mark(self, run: Any) -> None:
        """Mark a run as preempting."""
        if self.is_preempted and not is_closed(run):
            with suppress(Exception):  # an error of one run must not keep the others from being marked
                run.mark_preempting()


@dataclass
class OpenRunRegistry:
    """The runs of this process, and the end that a signal has set for all of them.

    The thread that acts on SIGTERM ends the runs while the main thread opens, closes or logs to them. So a run has one
    owner at a time: the thread that takes the run out of ``opened`` finishes it.

    Attributes:
        opened: Unfinished runs that this package opened, by id.
        user_runs: Runs that the user opened and a training logs to, by id.
        trainings: The guarded runs of the trainings and of the program that are running.
        owned: The guarded runs that opened their run and finish it.
        unsent_user_runs: The user's offline runs whose command is named when they end.
        records: Records of the trainings that have ended, by run id.
        termination: The end of this process by SIGTERM; None without the signal.
        launcher_run: The launcher's run, in a launcher that has handed it to workers and in these workers.
        failed_exit_code: Exit code of the last training, if it has failed; else 1.
    """

    opened: dict[str, OpenRun] = field(default_factory=dict)
    user_runs: dict[str, Any] = field(default_factory=dict)
    unsent_user_runs: list[Any] = field(default_factory=list)
    trainings: list[Any] = field(default_factory=list)
    owned: list[Any] = field(default_factory=list)
    records: dict[str, RunRecord] = field(default_factory=dict)
    termination: Termination | None = None
    launcher_run: Handoff | None = None
    failed_exit_code: int = 1
    _service_processes: list[ServiceProcess | BorrowedServiceProcess] = field(default_factory=list)
    _taken_over: set[str] = field(default_factory=set)
    _changing: int = 0  # number of runs that are being opened or finished
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _is_terminated: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def changing(self, service_process: ServiceProcess | BorrowedServiceProcess) -> Iterator[None]:
        """Open or finish a run in a ``with`` block.

        From the start of the block on, the service process is told of a termination.

        Args:
            service_process: The process that holds the run's wandb-core.
        """
        with self._lock:
            self._changing += 1
            if service_process not in self._service_processes:
                self._service_processes.append(service_process)
                if self.termination:
                    _send_termination(service_process, self.termination)
        try:
            yield
        finally:
            with self._lock:
                self._changing -= 1

    @property
    def is_changing(self) -> bool:
        """Whether a run is being opened or finished."""
        return self._changing > 0

    def add(self, open_run: OpenRun) -> None:
        """Add an opened run. After a termination the run is marked at once."""
        with self._lock:
            self.opened[open_run.run.id] = open_run
            self._taken_over.discard(open_run.run.id)
            if self.termination:
                self.termination.mark(open_run.run)

    def add_user_run(self, run: Any) -> None:
        """Add a run that the user opened. After a termination the run is marked at once."""
        with self._lock:
            self.user_runs[run.id] = run
            if self.termination:
                self.termination.mark(run)

    def program_of(self, run_id: str) -> Any:
        """Return the guarded run of the ``wandb_init`` block that holds a run, or None."""
        held = (each for each in self.trainings if each.is_program and each.wandb_run.id == run_id)
        return next(held, None)

    def take(self, run_id: str) -> OpenRun | None:
        """Take a run out of the registry, to finish it. Return None if another thread finishes it."""
        with self._lock:
            return self.opened.pop(run_id, None)

    def take_all(self) -> list[OpenRun]:
        """Take all runs out of the registry, for the thread that acts on SIGTERM."""
        with self._lock:
            runs = [*self.opened.values()]
            self._taken_over |= self.opened.keys()
            self.opened.clear()
            return runs

    def forget_unsent(self, run: Any) -> bool:
        """Forget a user's offline run whose command was named. Return whether it was not named yet."""
        with self._lock:
            is_known = run in self.unsent_user_runs
            if is_known:
                self.unsent_user_runs.remove(run)
            return is_known

    def is_taken_over(self, run_id: str) -> bool:
        """Return whether the thread that acts on SIGTERM finishes a run."""
        return run_id in self._taken_over

    def discard(self, service_process: ServiceProcess | BorrowedServiceProcess) -> None:
        """Forget a service process that has ended."""
        with self._lock:
            if service_process in self._service_processes:
                self._service_processes.remove(service_process)

    def wait_until_terminated(self, timeout: float) -> None:
        """Wait until the end of all runs by SIGTERM is set."""
        self._is_terminated.wait(timeout)

    def true_exit_code(self, exit_code: int) -> int:
        """Return the exit code of a run that ends now: that of SIGTERM if this process got it, else the given one."""
        return self.termination.exit_code if self.termination else exit_code

    def terminate(self, termination: Termination) -> None:
        """Set the end of all runs, also of those that are being opened, and mark them."""
        with self._lock:
            self.termination = termination
            self._is_terminated.set()
            for service_process in self._service_processes:
                _send_termination(service_process, termination)
            runs = [*self.user_runs.values(), *(open_run.run for open_run in self.opened.values())]
        for run in runs:
            termination.mark(run)


def _send_termination(service_process: ServiceProcess | BorrowedServiceProcess, termination: Termination) -> None:
    service_process.send(preempting=termination.is_preempted, exit_code=termination.exit_code)


registry = OpenRunRegistry()


def warn_of_unused_run(logged_id: str | None) -> None:
    """Warn that the script's run gets no rows from this rank.

    Only a rank that does not log calls this. Never imports wandb.

    Args:
        logged_id: Id of the run that the launcher handed to the ranks.
    """
    run = wandb_run()
    if run is None or run.disabled or run.id == logged_id or is_attached(run) or is_ours(run):
        return
    msg = (
        "this rank has opened run %s, which gets no rows of this training: rank 0 logs it; call wandb.init on rank 0 "
        "only, below 'if is_main_process():' of ultralytics_wb_ddp, or have each rank log with run_mode='new'"
    )
    logger.warning(msg, run.id)


def is_ours(run: Any) -> bool:
    """Return whether :func:`init_run` opened the run in this process, not the user."""
    return run.id in registry.opened


def may_have_existed(run: Any, mode: str | None = None) -> bool:
    """Return whether a run existed before it was opened by its id.

    An offline run may have existed: True, unless offline is the user's choice and the disk holds no other part of it.

    Args:
        run: The ``wandb.Run``.
        mode: The requested mode. None leaves the mode to W&B.
    """
    if not run.offline:
        return bool(run.resumed)
    is_by_choice = (mode or os.environ.get("WANDB_MODE")) in OFFLINE_MODES
    folder = get_run_dir(run)
    return not is_by_choice or len({folder, *parts_beside(folder, run.id)}) > 1


def check_shared(run: Any) -> None:
    """Refuse a run that was not opened in W&B's shared mode.

    A shared writer and a plain writer of the same run destroy each other's rows.

    Raises:
        ConfigurationError: The run was not opened in W&B's shared mode.
    """
    if not is_shared(run):
        mode = "offline" if run.offline else "online"
        raise not_shared_error(run.id, f"in mode={mode!r}")


def not_shared_error(run_id: str, where: str) -> ConfigurationError:
    """Return the error for a run that is open without W&B's shared mode.

    Args:
        run_id: Id of the run.
        where: The place or the mode in which the run is open.
    """
    msg = (
        f"run_mode='shared' with run {run_id!r}, which is open {where} and cannot have other writers; open it with "
        "wandb.init(mode='shared'), give the manager run_mode='shared', or call prepare_for_training()"
    )
    return ConfigurationError(msg)


def mark_if_preempted(run: Any, exit_code: int) -> None:
    """Mark a run as preempting that ends with the exit code of SIGTERM, which may have ended another process."""
    if exit_code == SIGTERM_EXIT_CODE:
        Termination(exit_code, is_preempted=True).mark(run)


def watch_finish(run: Any) -> None:
    """Finish the user's run with its true exit code, and name the command that sends an offline run.

    A ``finally: run.finish()`` would mark a failed training as successful. So would W&B's plugin for Flyte, which
    always finishes with ``exit_code=0``. An exception that was already being handled before the training does not
    count. An exception that was handled before the run finishes does not count either.

    W&B itself names a command that sends one part of a run. Ours comes after it, however the run ends.
    """
    if is_ours(run) or is_finish_wrapped(run):
        return
    handled = sys.exc_info()[1]

    def finish_truly(finish: Callable[..., None], exit_code: int | None = None, *rest: Any, **options: Any) -> None:
        error = sys.exc_info()[1]
        if error is not None and error is not handled and exit_code in {None, 0, 1}:  # a ``with`` block gives 1
            exit_code = exit_code_of_run(run, error) or exit_code
        folder, next_step, was_open = get_run_dir(run), get_next_step(run), not is_closed(run)
        mark_if_preempted(run, exit_code or 0)
        try:
            finish(exit_code, *rest, **options)
        finally:
            if was_open and not run.disabled:
                is_sent = not (run.offline or has_finish_timed_out(run) or has_upload_failed(run))
                record_end([folder], folder, exit_code=exit_code or 0, next_step=next_step, is_sent=is_sent)
            _log_sync_command_once(run)

    wrap_finish(run, finish_truly)
    if run.offline and not is_attached(run) and not is_closed(run):
        registry.unsent_user_runs.append(run)
        # If the script never finishes the run, its wandb-core does so when the script ends.
        call_after_teardown(run, _log_all_sync_commands)


def exit_code_of_run(run: Any, error: BaseException | None) -> int:
    """Return the exit code of an open run that ends with an exception.

    If the launch of the workers has failed, it is the exit code that a worker has reported.
    """
    return exit_code_of_launch(error, Handoff.of_run(run, is_open=True))


def _log_sync_command_once(run: Any) -> None:
    if registry.forget_unsent(run):
        log_sync_command(run)


def _log_all_sync_commands() -> None:
    for run in [*registry.unsent_user_runs]:
        _log_sync_command_once(run)


def log_sync_command(run: Any) -> None:
    """Name the command that sends all parts of a run that are on disk only.

    Args:
        run: The ``wandb.Run``; there is no message for an online run.
    """
    if run.offline:
        command = sync_command(get_run_dir(run))
        logger.info("run %s is on disk only; send it with: %s", run.id, command, extra=EVERY_RANK)


def block_finish(run: Any, reason: str) -> None:
    """Make ``run.finish()`` log a warning instead of finishing the run.

    If the user's callback finished the run, later rows would be lost, and a launcher that holds the run would hang.

    Args:
        run: The ``wandb.Run``.
        reason: The reason that the run stays open, for the message.
    """

    def finish(*_: Any, **__: Any) -> None:
        logger.warning("run %s stays open: %s", run.id, reason)

    replace_finish(run, finish)


def unblock_finish(run: Any) -> None:
    """Undo :func:`block_finish`."""
    restore_finish(run)


def adopt_user_run(run: Any) -> None:
    """Prepare the user's run for outages, the Stop button and SIGTERM."""
    watch_finish(run)
    registry.add_user_run(run)
    disable_server_queries(run)
    install_stop_handler(run)
