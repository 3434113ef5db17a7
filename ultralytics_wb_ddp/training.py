"""The run of one training: how a logging rank gets it, what is written to its config, and where trouble with W&B ends.

Whoever opened a run finishes it: a run that was adopted or attached to is left open.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config import RunOptions
from ultralytics_wb_ddp.decision import Plan, choose
from ultralytics_wb_ddp.handoff import Handoff, is_closed
from ultralytics_wb_ddp.log import logger
from ultralytics_wb_ddp.session import attach, find_handoff, finish_run, init_run, local_run, resume_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Session", "open_session"]

_owned: list[Session] = []  # sessions that opened their run, and therefore finish it


class Session:
    """A run that is being logged to, and what to do when that fails.

    Attributes:
        run: The ``wandb.Run``.
        how: How it was got: ``"adopt"``, ``"attach"``, ``"resume"`` or ``"new"``.
    """

    def __init__(self, run: Any, how: str, on_error: str, handoff: Handoff | None = None) -> None:
        self.run = run
        self.how = how
        self._on_error = on_error
        self._handoff = handoff
        self._lost = False
        # The config of an attached run is not known here, but the names in it travelled.
        self._taken = set(handoff.config_keys if handoff else ())
        if how in {"adopt", "resume"}:
            self._taken |= set(run.config.keys())
        self._other_values: dict[str, Any] = {}
        self._reported: set[str] = set()

    @contextmanager
    def guarded(self, what: str) -> Iterator[bool]:
        """Keep trouble with W&B away from the training; yields False once the run cannot be reached any more.

        Args:
            what: What is being logged, for the message.
        """
        try:
            yield not self._lost
        except Exception as error:
            if self._on_error == "raise":
                raise
            self._lost = self._lost or isinstance(error, (ConnectionError, BrokenPipeError)) or is_closed(self.run)
            then = "the training goes on without logging" if self._lost else "the training goes on"
            if what not in self._reported:  # once, not in every epoch
                self._reported.add(what)
                logger.warning("%s could not be logged to run %s: %s; %s", what, self.run.id, _cause(error), then)

    def update_config(self, arguments: Mapping[str, Any]) -> None:
        """Add the training's arguments to the run's config and leave what the user or a sweep has set.

        An argument whose name is taken by another value stands under ``ultralytics`` instead.
        """
        config = self.run.config
        new = {key: value for key, value in arguments.items() if key not in self._taken}
        rest = arguments.keys() - new
        self._other_values |= {key: arguments[key] for key in sorted(rest) if config.get(key) != arguments[key]}
        if self._other_values:
            new["ultralytics"] = self._other_values
        config.update(new, allow_val_change=True)

    def close(self, exit_code: int) -> None:
        """Finish the run if this session opened it; leave it open otherwise."""
        if self in _owned:
            _owned.remove(self)
            with self.guarded("the end of the training"):
                if self.how == "resume" and self._handoff:
                    self._handoff.leave_next_step(self.run)
                finish_run(self.run, exit_code)


def open_session(
    run: Any, handoff: Handoff | None, options: RunOptions, *, earlier: Handoff | None, default: RunOptions
) -> Session | None:
    """Get the run that this rank logs to.

    Args:
        run: Run that was given to this process, or None.
        handoff: Run that travelled here, or None for the one in the environment.
        options: What the user asked for.
        earlier: Run of an earlier session of this training, if the training is resumed.
        default: How a run is made where the user asked for nothing.

    Returns:
        The session, or None where W&B is disabled or, with ``on_error="warn"``, no run could be had.

    Raises:
        ConfigurationError: The handoff in the environment is damaged.
        ConnectionError: The run of the launcher is out of reach, with ``on_error="raise"``.
        wandb.errors.Error: W&B refuses or cannot be reached, with ``on_error="raise"``.
    """
    while _owned:  # Ultralytics before 8.4.177 tells nobody that a training has failed
        _owned[-1].close(1)
    handoff = find_handoff(run, handoff)
    local = local_run(run, handoff)
    plan = choose(
        local=local is not None,
        handoff=handoff,
        host=socket.gethostname(),
        service=bool(os.environ.get("WANDB_SERVICE")),
        earlier=earlier,
    )
    try:
        if plan.how == "skip" or (local is not None and local.disabled):
            return None
        if plan.how == "refuse":
            raise ConnectionError(plan.reason)  # noqa: TRY301  # one policy for every way to fail
        if plan.how == "adopt":
            session = Session(local, "adopt", options.on_error, handoff)
        elif plan.how == "attach" and plan.handoff:
            session = Session(attach(plan.handoff), "attach", options.on_error, plan.handoff)
        else:
            session = _open_own(plan, options, default)
            _owned.append(session)
    except Exception as error:
        if options.on_error == "raise":
            raise
        logger.warning("no W&B run for this training: %s; the training goes on without logging", _cause(error))
        return None
    if session.run.disabled:
        return None
    verb = {"adopt": "logging to", "attach": "attached to", "resume": "resumed", "new": "made"}[plan.how]
    logger.info("%s run %s of project %s", verb, session.run.id, session.run.project)
    return session


def _open_own(plan: Plan, options: RunOptions, default: RunOptions) -> Session:
    """Resume a closed run, or make a new one as the stock callback would."""
    if plan.handoff is None:
        made = options.or_else(default)
        run = init_run(made, run_id=_new_run_id(made.name or "train"), resume=None)
        return Session(run, "new", options.on_error)
    handoff = plan.handoff
    named = RunOptions(project=handoff.project, entity=handoff.entity, mode=handoff.mode)
    unnamed = replace(options, project=None, entity=None, mode=None)  # the run that is continued knows better
    known = unnamed.or_else(named).or_else(options).or_else(RunOptions(project=default.project, dir=default.dir))
    return Session(resume_run(known, handoff, "allow"), "resume", options.on_error, handoff)


def _new_run_id(name: str) -> str:
    """Return an id like the stock callback's, which trainings that start in the same second do not share."""
    readable = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:64]
    return f"{readable}_{datetime.now().astimezone():%Y%m%d_%H%M%S}_{secrets.token_hex(2)}"


def _cause(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
