"""The run of one training: how a logging rank gets it, what is written to it, and where trouble with W&B ends.

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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.client import ask_again, flush
from ultralytics_wb_ddp.config import RunOptions
from ultralytics_wb_ddp.decision import Plan, choose
from ultralytics_wb_ddp.handoff import Handoff, is_closed
from ultralytics_wb_ddp.log import cause_of, logger
from ultralytics_wb_ddp.record import RunRecord, best_of
from ultralytics_wb_ddp.runs import (
    find_handoff,
    folder_of,
    local_run,
    opened_by_us,
    sync_command,
    use_users_run,
    users_runs,
    word_to,
)
from ultralytics_wb_ddp.session import attach, define_metrics, finish_run, init_run, resume_run
from ultralytics_wb_ddp.stopping import StopButton

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

    def __init__(self, run: Any, how: str, options: RunOptions, handoff: Handoff | None = None) -> None:
        self.run = run
        self.how = how
        self._options = options
        self._handoff = handoff
        self._lost = False
        self.record = RunRecord(run.id)
        self._save_dir: Path | None = None
        # The config of an attached run is not known here, but the names in it travelled.
        self._taken = set(handoff.config_keys if handoff else ())
        if how in {"adopt", "resume"}:
            self._taken |= set(run.config.keys())
        self._other_values: dict[str, Any] = {}
        self._reported: set[str] = set()
        self._stop_button = StopButton()
        is_users = handoff.is_users if how == "attach" and handoff else how == "adopt" and not opened_by_us(run)
        if is_users:
            use_users_run(run)

    def start(self, save_dir: Path, earlier: RunRecord | None) -> None:
        """Define the metrics, and have the training's directory name the run.

        Args:
            save_dir: Directory of the training.
            earlier: Record of the training's earlier session, if it is resumed.
        """
        self._save_dir = save_dir
        with self.guarded("the start of the training"):
            define_metrics(self.run)
            self.record = RunRecord.of_run(self.run, earlier)
            if self.how == "resume" and not self.run.offline:
                self._look_back(earlier)
            self.record.save(save_dir)
            if self.record.best_epoch:
                self.run.summary.update({"best/epoch": self.record.best_epoch})

    def _look_back(self, earlier: RunRecord | None) -> None:
        """Take the best values over that stand in the run's summary, and doubt a run that holds another training."""
        summary = _plain_summary(self.run.summary)
        self.record.floor = {**best_of(summary), **self.record.floor}
        self.record.best = {**self.record.floor, **self.record.best}
        if "epoch" in summary and (earlier is None or earlier.id != self.run.id):
            logger.warning(
                "run %s holds %s epochs of an earlier training already; this one is added to it because WANDB_RUN_ID "
                "or the launcher names the run: 'unset WANDB_RUN_ID' if it is left over",
                self.run.id,
                summary["epoch"],
            )

    def log(self, row: Mapping[str, Any], *, is_best: bool) -> None:
        """Log a row.

        Args:
            row: The row, with its ``epoch``.
            is_best: Whether the best checkpoint so far is of this epoch.
        """
        with self.guarded("the row of an epoch") as reachable:
            if not reachable:
                return
            try:
                self.run.log(dict(row))
            except (ConnectionError, EOFError) as error:
                self.continue_on_disk(f"the run's wandb-core is gone ({cause_of(error)})")
                self.run.log(dict(row))
            summary: dict[str, Any] = dict(self.record.note(self.run, row))
            if is_best and self.record.best_epoch != row["epoch"]:
                self.record.best_epoch = summary["best/epoch"] = row["epoch"]
            if summary:
                self.run.summary.update(summary)
            if self._options.flush_interval:
                flush(self.run, flushes_itself=self.run.id not in users_runs)
            if self._save_dir:
                self.record.save(self._save_dir)

    def lose_launcher(self, message: str) -> None:
        """Say that the launcher is gone, and do without what it held."""
        if self.how == "attach":
            with self.guarded("what follows the launcher's end"):
                self.continue_on_disk(message)
        else:
            logger.warning("%s; run %s is not affected", message, self.run.id)

    def continue_on_disk(self, reason: str) -> None:
        """Go on in a further part of the same run, on disk, where the wandb-core that holds it is gone."""
        lost, record = self.run, self.record
        theirs = Path(self._handoff.files_dir).parent if self._handoff and self._handoff.files_dir else None
        is_users = users_runs.pop(lost.id, None) is not None
        self._lost = True  # unless the following succeeds
        named = RunOptions(project=record.project, entity=record.entity, mode="offline", dir=self._options.dir)
        options = replace(named, finish_timeout=self._options.finish_timeout)
        if self._save_dir and options.dir is None:
            options = replace(options, dir=str(self._save_dir))
        self.run, self.how, self._lost = init_run(options, run_id=lost.id, resume="allow"), "resume", False
        self._handoff = None
        if self not in _owned:
            _owned.append(self)
        define_metrics(self.run)
        parts = [theirs] if is_users and theirs else []  # nobody else sends what the launcher has on disk
        msg = "%s; what it logs to run %s from now on is written to disk, send it when the run is over with: %s"
        logger.warning(msg, reason, lost.id, sync_command(*parts, folder_of(self.run)))

    def stop_requested(self) -> bool:
        """Return whether the Stop button of W&B was pressed."""
        with self.guarded("the Stop button") as reachable:
            return reachable and self._stop_button.is_pressed(self.run)
        return False

    @contextmanager
    def guarded(self, what: str) -> Iterator[bool]:
        """Keep trouble with W&B away from the training; yields False once the run cannot be reached any more.

        Args:
            what: What is being logged, for the message.
        """
        try:
            yield not self._lost
        except Exception as error:
            if self._options.on_error == "raise":
                raise
            self._lost = self._lost or isinstance(error, (ConnectionError, BrokenPipeError)) or is_closed(self.run)
            then = "the training goes on without logging" if self._lost else "the training goes on"
            if what not in self._reported:  # once, not in every epoch
                self._reported.add(what)
                logger.warning("%s could not be logged to run %s: %s; %s", what, self.run.id, cause_of(error), then)

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
        if users_runs.pop(self.run.id, None) is not None:
            ask_again(self.run)
        if self in _owned:
            _owned.remove(self)
            with self.guarded("the end of the training"):
                finish_run(self.run, exit_code)
        if self._save_dir:
            self.record.save(self._save_dir, closed=True)


def open_session(
    run: Any, handoff: Handoff | None, options: RunOptions, *, earlier: RunRecord | None, default: RunOptions
) -> Session | None:
    """Get the run that this rank logs to.

    Args:
        run: Run that was given to this process, or None.
        handoff: Run that travelled here, or None for the one in the environment.
        options: What the user asked for.
        earlier: Record of the training's earlier session, if it is resumed.
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
        service=bool((handoff and handoff.service) or os.environ.get("WANDB_SERVICE")),
        earlier=earlier.handoff() if earlier else None,
    )
    session: Session | None
    try:
        if plan.how == "skip" or (local is not None and local.disabled):
            return None
        if plan.how == "refuse":
            raise ConnectionError(plan.reason)  # noqa: TRY301  # one policy for every way to fail
        if plan.how == "adopt":
            session = Session(local, "adopt", options, handoff)
        elif plan.how == "attach" and plan.handoff:
            session = Session(attach(plan.handoff), "attach", options, plan.handoff)
        else:
            session = _own(_open_own(plan, options, default))
    except Exception as error:
        if options.on_error == "raise":
            raise
        session = _open_on_disk(handoff, options, default, cause_of(error))
    if session is None or session.run.disabled:
        return None
    verb = {"adopt": "logging to", "attach": "attached to", "resume": "resumed", "new": "made"}[session.how]
    logger.info("%s run %s of project %s", verb, session.run.id, session.run.project)
    return session


def _open_own(plan: Plan, options: RunOptions, default: RunOptions) -> Session:
    """Resume a closed run, or make a new one as the stock callback would."""
    if plan.handoff is None:
        made = options.or_else(default)
        run = init_run(made, run_id=_new_run_id(made.name or "train"), resume=None)
        return Session(run, "new", options)
    handoff = plan.handoff
    handoff.forget_word()
    run = resume_run(_options_of(handoff, options, default), handoff, "allow")
    word_to(run, handoff.word)
    return Session(run, "resume", options, handoff)


def _open_on_disk(handoff: Handoff | None, options: RunOptions, default: RunOptions, reason: str) -> Session | None:
    """Keep what is logged on disk, as a part of the run that could not be had."""
    try:
        if handoff is None:
            raise RuntimeError(reason)  # noqa: TRY301  # the same end as of a disk that cannot be written
        made = replace(_options_of(handoff, options, default), mode="offline")
        run = init_run(made, run_id=handoff.run_id, resume="allow")
    except Exception as error:  # noqa: BLE001  # no trouble of W&B's ends the training
        logger.warning("no W&B run for this training: %s; the training goes on without logging", cause_of(error))
        return None
    msg = "%s: this training's part of the run is written to disk, send it when the launcher is done with: %s"
    logger.warning(msg, reason, sync_command(folder_of(run)))
    return _own(Session(run, "resume", options))


def _own(session: Session) -> Session:
    _owned.append(session)
    return session


def _options_of(handoff: Handoff, options: RunOptions, default: RunOptions) -> RunOptions:
    """Return how a run is continued: what is known of it comes before what was asked for."""
    named = RunOptions(project=handoff.project, entity=handoff.entity, mode=handoff.mode)
    unnamed = replace(options, project=None, entity=None, mode=None)
    return unnamed.or_else(named).or_else(options).or_else(RunOptions(project=default.project, dir=default.dir))


def _plain_summary(summary: Any) -> dict[str, Any]:
    """Return a W&B summary, which is no mapping, as dictionaries."""
    values = {key: summary[key] for key in summary.keys()}  # noqa: SIM118
    return {key: _plain_summary(value) if hasattr(value, "keys") else value for key, value in values.items()}


def _new_run_id(name: str) -> str:
    """Return an id like the stock callback's, which trainings that start in the same second do not share."""
    readable = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:64]
    return f"{readable}_{datetime.now().astimezone():%Y%m%d_%H%M%S}_{secrets.token_hex(2)}"
