"""The one place where runs are opened and closed: with which service, under which id, and not before it is safe."""

from __future__ import annotations

import os
import re
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.handoff import Handoff, is_closed
from ultralytics_wb_ddp.log import logger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ultralytics_wb_ddp.config import RunOptions

__all__ = [
    "attach",
    "define_metrics",
    "find_handoff",
    "finish_run",
    "hide_service",
    "init_run",
    "local_run",
    "opened_by_us",
    "resume_run",
    "run_url",
    "show_service",
    "wandb_run",
]

COUNTING_LAG = 5.0  # seconds after which the service has counted rows as a rule
COUNTING_TIMEOUT = 60.0  # seconds after which it is given up that it does

_opened_here: dict[str, Any] = {}  # runs that init_run opened in this process and nobody has finished, by id
_hidden_service: list[str] = []  # WANDB_SERVICE of this process, while it is not in the environment


def init_run(
    options: RunOptions, *, run_id: str | None, resume: str | None, before_training: bool = False, **init: Any
) -> Any:
    """Open a run with ``wandb.init``, on a wandb-core service of this process's own.

    Where W&B cannot be reached, the session is written to disk instead and a message names the command that sends it.

    Args:
        options: How the run is made. ``on_error="raise"`` stands for no session without W&B.
        run_id: Id of the run; None lets W&B choose one.
        resume: As in ``wandb.init``.
        before_training: Whether there is still time to mend what W&B refuses (no API key, or a wrong one): it is an
            error then, and written to disk as well once a training has started.
        **init: Further arguments of ``wandb.init``.

    Raises:
        wandb.errors.Error: W&B refuses, or cannot be reached with ``on_error="raise"``.
    """
    from wandb.errors import AuthenticationError, CommError, UsageError

    try:
        run = _init(options, run_id=run_id, resume=resume, **init)
    except (CommError, UsageError) as error:
        refused = isinstance(error, (AuthenticationError, UsageError))
        if options.on_error == "raise" or (refused and before_training):
            raise
        reason = f"W&B {'refuses' if refused else 'cannot be reached'}: {error}"
        return _init_on_disk(options, reason, run_id=run_id, resume=resume, **init)
    _opened_here[run.id] = run
    return run


def resume_run(options: RunOptions, handoff: Handoff, resume: str, **init: Any) -> Any:
    """Reopen a closed run, once the service has counted all of its rows.

    It counts what arrives 2 to 4 s late (wandb#12421), and a session that resumes before destroys rows. So the run is
    not reopened earlier than 5 s after it was closed, and a session that starts at a step too low even so is closed
    again before it has written anything.

    Args:
        options: How the run is made.
        handoff: The run, and the step after its last row.
        resume: As in ``wandb.init``.
        **init: Further arguments of ``wandb.init``.
    """
    if handoff.closed_at and handoff.mode != "offline":
        time.sleep(min(max(0.0, handoff.closed_at + COUNTING_LAG - time.time()), COUNTING_LAG))
    deadline = time.monotonic() + COUNTING_TIMEOUT
    while True:
        run = init_run(options, run_id=handoff.run_id, resume=resume, **init)
        if run.offline or run.disabled or run.starting_step >= handoff.next_step:
            return run
        finish_run(run, 0)
        if time.monotonic() > deadline:
            reason = f"W&B has counted {run.starting_step} of {handoff.next_step} steps of run {run.id}"
            return _init_on_disk(options, reason, run_id=handoff.run_id, resume=resume, **init)
        time.sleep(1)


def _init_on_disk(options: RunOptions, reason: str, *, run_id: str | None, resume: str | None, **init: Any) -> Any:
    """Open a run offline and say how it gets to W&B."""
    run = _init(replace(options, mode="offline"), run_id=run_id, resume=resume, **init)
    command = f"wandb sync {Path(run.dir).parent}"
    logger.warning("%s; what is logged now is written to disk, send it with: %s", reason, command)
    _opened_here[run.id] = run
    return run


def _init(options: RunOptions, *, run_id: str | None, resume: str | None, **init: Any) -> Any:
    import wandb

    if wandb_run() is not None:  # without it, wandb.init returns that run, whatever is asked for
        init["reinit"] = "create_new"
    with _own_service():
        return wandb.init(
            project=options.project,
            entity=options.entity,
            name=options.name,
            group=options.group,
            job_type=options.job_type,
            tags=options.tags,
            notes=options.notes,
            mode=options.mode,
            dir=options.dir,
            id=run_id,
            resume=resume,
            **init,
        )


def finish_run(run: Any, exit_code: int) -> None:
    """Finish a run that :func:`init_run` opened; harmless when it is finished already."""
    _opened_here.pop(run.id, None)
    if not is_closed(run):
        run.finish(exit_code=exit_code)


def find_handoff(given: Any, travelled: Handoff | None) -> Handoff | None:
    """Return the record of the run to continue: a given run that is finished, what travelled here, the environment's.

    Raises:
        ConfigurationError: The handoff in the environment is damaged.
    """
    if given is not None and is_closed(given):
        return Handoff.of_run(given, is_open=False)
    return travelled or Handoff.from_env()


def local_run(given: Any, handoff: Handoff | None) -> Any:
    """Return the open run of this process that a training here logs to, or None; never imports wandb.

    Only a run that was given counts where one was; else the one that the handoff names comes before ``wandb.run``.
    """
    if given is not None:
        return None if is_closed(given) else given
    active = wandb_run()
    named = _opened_here.get(handoff.run_id) if handoff else None
    if active is not None and opened_by_us(active) and (handoff is None or active.id != handoff.run_id):
        active = None  # another manager's
    return active if named is None or is_closed(named) else named


def wandb_run() -> Any:
    """Return ``wandb.run`` if it is open; never imports wandb."""
    run = getattr(sys.modules.get("wandb"), "run", None)
    return None if run is None or is_closed(run) else run


def run_url(run: Any) -> str | None:
    """Return the web address of a run; None offline, where wandb would warn that there is none."""
    return None if run.offline else run.url


def opened_by_us(run: Any) -> bool:
    """Return whether a run was opened here by :func:`init_run`, not by the user's own ``wandb.init``."""
    return run.id in _opened_here


def attach(handoff: Handoff) -> Any:
    """Join a run that is open in the launcher; it must never be finished from here."""
    import wandb

    try:
        run = wandb.attach(handoff.run_id)
        if handoff.files_dir:  # attaching takes the directory from this process's own settings, where nobody looks
            run._settings.x_files_dir = handoff.files_dir  # noqa: SLF001  # W&B has no public way
        return run  # noqa: TRY300
    except Exception as error:
        msg = (
            f"run {handoff.run_id!r} is not open in the launcher any more ({error}); "
            "call prepare_for_training() if you close it before the training"
        )
        raise ConnectionError(msg) from error


@contextmanager
def _own_service() -> Iterator[None]:
    """Let wandb start a service for this process instead of using the one of the process that started it.

    The launcher's service refuses an id that is open there, and a run opened there outlives a killed worker.
    """
    if not _is_own_service():
        hide_service()
    try:
        yield
    finally:
        show_service()


def _is_own_service() -> bool:
    """Return whether ``WANDB_SERVICE`` leads to a service that this process has started."""
    owner = re.match(r"\d+-(\d+)-", os.environ.get("WANDB_SERVICE", ""))
    return owner is not None and int(owner.group(1)) == os.getpid()


def show_service() -> None:
    """Put back what leads workers to the service of this process, unless wandb has started another one since."""
    if _hidden_service and not _is_own_service():
        os.environ["WANDB_SERVICE"] = _hidden_service[0]


def hide_service() -> None:
    """Take ``WANDB_SERVICE`` out of the environment; the service goes on, and later runs of this process use it."""
    if "WANDB_SERVICE" in os.environ:
        _hidden_service[:] = [os.environ.pop("WANDB_SERVICE")]


def define_metrics(run: Any) -> None:
    """Make the epoch the axis of the training's metrics, as the stock callback does.

    Every session that opens the run does it: resuming a run loses what an earlier session defined.
    """
    for prefix in ("train", "lr", "metrics", "val"):
        run.define_metric(f"{prefix}/*", step_metric="epoch")
