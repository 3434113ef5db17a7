"""The runs that are open in this process: which one a training logs to, and how others find it."""

from __future__ import annotations

import functools
import glob
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config.options import OFFLINE_MODES
from ultralytics_wb_ddp.config.validation import ConfigurationError
from ultralytics_wb_ddp.runs.handoff import Handoff, write_handback
from ultralytics_wb_ddp.runs.stop_button import install_stop_handler
from ultralytics_wb_ddp.utils.errors import exit_code_of
from ultralytics_wb_ddp.utils.logging import logger
from ultralytics_wb_ddp.wandb_client.internals import (
    disable_server_queries,
    is_attached,
    replace_finish,
    restore_finish,
)
from ultralytics_wb_ddp.wandb_client.run_state import get_run_dir, is_closed, is_shared, wandb_run

if TYPE_CHECKING:
    from pathlib import Path

    from ultralytics_wb_ddp.config.options import RunOptions
    from ultralytics_wb_ddp.runs.service_process import BorrowedServiceProcess, ServiceProcess


@dataclass
class OpenRun:
    """A run that was opened here and is not finished.

    Attributes:
        run: The ``wandb.Run``.
        options: How it was made.
        sidecar: The process that holds its wandb-core.
        word: File by which the launcher learns how this session has ended.
        exit_code: The exit code that it ends with, where that was decided by a signal.
    """

    run: Any
    options: RunOptions
    service_process: ServiceProcess | BorrowedServiceProcess
    handback_file: Path | None = None
    exit_code: int | None = None


open_runs: dict[str, OpenRun] = {}  # by id
user_runs: dict[str, Any] = {}  # runs in use here that the user has opened in this process, by id


def resolve_handoff(given: Any, travelled: Handoff | None) -> Handoff | None:
    """Return the record of the run to continue: a given run that is finished, what travelled here, the environment's.

    Raises:
        ConfigurationError: The handoff in the environment is damaged.
    """
    if given is not None and is_closed(given):
        return Handoff.of_run(given, is_open=False)
    return travelled or Handoff.from_env()


def active_run_for(given: Any, handoff: Handoff | None) -> Any:
    """Return the open run of this process that a training here logs to, or None; never imports wandb.

    Only a run that was given counts where one was; else the one that the handoff names comes before ``wandb.run``.
    """
    if given is not None:
        return None if is_closed(given) else given
    active = wandb_run()
    named = open_runs[handoff.run_id].run if handoff and handoff.run_id in open_runs else None
    if active is not None and is_ours(active) and (handoff is None or active.id != handoff.run_id):
        active = None  # another manager's
    return active if named is None or is_closed(named) else named


def warn_of_unused_run(logged_id: str | None) -> None:
    """Say on a rank that does not log that the run which the script has opened there gets no rows; imports no wandb.

    Args:
        logged_id: Id of the run that the launcher has handed to the ranks.
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
    """Return whether a run was opened here by :func:`init_run`, not by the user's own ``wandb.init``."""
    return run.id in open_runs


def may_have_existed(run: Any, mode: str | None = None) -> bool:
    """Return whether a run that was opened here by its id existed before, or may have, where W&B could not be asked.

    Args:
        run: The ``wandb.Run``.
        mode: Mode that was asked for; None is left to W&B.
    """
    if not run.offline:
        return bool(run.resumed)
    is_by_choice = (mode or os.environ.get("WANDB_MODE")) in OFFLINE_MODES
    return not is_by_choice or len(run_parts(run)) > 1


def run_parts(run: Any) -> list[Path]:
    """Return the folders beside that of a run which hold parts of the same run, and its own; the oldest first."""
    folder = get_run_dir(run)
    found = {folder, *folder.parent.glob(f"*run-????????_??????-{glob.escape(run.id)}")}
    return sorted(found, key=lambda part: part.name.partition("run-")[2])


def check_shared(run: Any) -> None:
    """Refuse a run that cannot have other writers: a shared writer and a plain one destroy each other's rows.

    Raises:
        ConfigurationError: It was not opened in W&B's shared mode.
    """
    if is_shared(run):
        return
    mode = "offline" if run.offline else "online"
    msg = (
        f"run_mode='shared' with run {run.id!r}, which is open in mode={mode!r} and cannot have other writers; open it "
        "with wandb.init(mode='shared'), give the manager run_mode='shared', or call prepare_for_training()"
    )
    raise ConfigurationError(msg)


def mark_failed_on_exception(run: Any) -> None:
    """Have a run of the user's that is finished while an exception is on its way end as failed.

    Both a ``finally: run.finish()`` and W&B's plugin for Flyte, which finishes with ``exit_code=0`` whatever becomes of
    the task, would make a success of a training that has failed. An exception that was being handled before the
    training is none of its failures; one that was dealt with before the run is finished does not count either.
    """
    if is_ours(run) or "finish" in vars(run):
        return
    finish, handled = run.finish, sys.exc_info()[1]

    @functools.wraps(finish)
    def finish_truly(exit_code: int | None = None, *rest: Any, **options: Any) -> None:
        error = sys.exc_info()[1]
        if error is not None and error is not handled:
            exit_code = exit_code or exit_code_of(error)
        finish(exit_code, *rest, **options)

    run.finish = finish_truly


def block_finish(run: Any, reason: str) -> None:
    """Have a callback of the user's that finishes the run it sees do nothing but say so.

    What is logged afterwards would be lost, and where the run is the launcher's, the launcher would hang at its end.

    Args:
        run: The ``wandb.Run``.
        reason: Why it stays open, for the message.
    """

    def finish(*_: Any, **__: Any) -> None:
        logger.warning("run %s stays open: %s", run.id, reason)

    replace_finish(run, finish)


def unblock_finish(run: Any) -> None:
    """Undo :func:`hold_open`."""
    restore_finish(run)


def adopt_user_run(run: Any) -> None:
    """Take care of a run that the user has opened while a training logs to it: outages, the Stop button, SIGTERM."""
    mark_failed_on_exception(run)
    user_runs[run.id] = run
    disable_server_queries(run)
    install_stop_handler(run)


def handoff_of_open_run(run: Any) -> Handoff:
    """Return the record by which workers find a run that is open here."""
    held = open_runs.get(run.id)
    service = held.service_process.token if held else os.environ.get("WANDB_SERVICE")
    return Handoff.of_run(run, is_open=True, service=service, is_users=held is None)


def set_handback_file(run: Any, file: Path | None) -> None:
    """Have a file of the launcher's say how the session of a run that is open here ends, and that it is open now."""
    held = open_runs.get(run.id)
    if file and held:
        held.handback_file = file
        write_handback(file, pid=held.service_process.pid)
        held.service_process.send(word=str(file))
