"""The run of one training: how a logging rank gets it, what is written to it, and where trouble with W&B ends.

Whoever opened a run finishes it: a run that was adopted or attached to is left open.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config.options import RunOptions
from ultralytics_wb_ddp.runs.handoff import Handoff, leave_word
from ultralytics_wb_ddp.runs.lifecycle import define_metrics, finish_run, init_run
from ultralytics_wb_ddp.runs.links import Links
from ultralytics_wb_ddp.runs.open_runs import hold_open, let_finish, opened_by_us, use_users_run, users_runs
from ultralytics_wb_ddp.runs.run_record import RunRecord, best_of
from ultralytics_wb_ddp.runs.stop_button import StopButton
from ultralytics_wb_ddp.utils.logging import cause_of, logger
from ultralytics_wb_ddp.utils.threads import Background
from ultralytics_wb_ddp.wandb_client.internals import ask_again, flush, shorten_table_names
from ultralytics_wb_ddp.wandb_client.run_file import holds_records
from ultralytics_wb_ddp.wandb_client.run_state import (
    config_of,
    folder_of,
    is_closed,
    plain_summary,
    sync_command,
    wandb_run,
)
from ultralytics_wb_ddp.wandb_client.storage import make_room, store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path


STOP_TIMEOUT = 1.0  # seconds that the training waits for the answer whether it is to stop
RECORD_INTERVAL = 1.0  # seconds between two notes of how many batches were trained
SETTLING = 10.0  # seconds that what follows a row may take, before the training goes on without it
ended: dict[str, RunRecord] = {}  # of trainings that are over here, by the id of the run
sessions: list[Session] = []  # of the trainings that are going on here
owned: list[Session] = []  # those that opened their run, and therefore finish it


class Session:
    """A run that is being logged to, and what to do when that fails.

    Attributes:
        run: The ``wandb.Run``.
        how: How it was got: ``"adopt"``, ``"attach"``, ``"resume"``, ``"shared"`` or ``"new"``.
        base_id: Id that the runs of all ranks are derived from.
        goes_on: Whether the training goes on in the run in which it began.
        is_of_another_run: Whether it goes on in another one.
        links: Where the run is to be seen.
        thread: The thread that trains.
        background: What need not take its time.
    """

    def __init__(self, run: Any, how: str, options: RunOptions, handoff: Handoff | None = None) -> None:
        self.run = run
        self.how = how
        self.base_id = str(run.id)
        self.goes_on = False
        self.links = Links()
        self.thread = threading.current_thread()
        self._options = options
        self._handoff = handoff
        self._lost = False
        self._cut_off_by: Exception | None = None  # how it turned out that the wandb-core is gone, until a row is due
        self._is_on_disk = False  # whether the run was continued there
        self.record = RunRecord(run.id)
        self._save_dir: Path | None = None
        self.is_of_another_run = False  # what the training is resumed from
        # The config of an attached run is not known here, but the names in it travelled.
        self._names_given = bool(handoff and handoff.config_keys)
        self._taken = set(handoff.config_keys if handoff else ())
        if how in {"adopt", "resume", "shared"}:
            self._taken |= set(run.config.keys())
        self._other_values: dict[str, Any] = {}
        self._reported: set[str] = set()
        self._stop_button = StopButton()
        self._is_stop_wanted = False
        self._look: threading.Event | None = None  # whether the look at the button is done; None: nobody looks
        self.background = Background("wandb-ddp-rows")
        self._error: Exception | None = None  # of the background's, to be raised in the training's thread
        make_room(folder_of(run).parent)
        shorten_table_names(run)
        is_users = handoff.is_users if how == "attach" and handoff else how == "adopt" and not opened_by_us(run)
        if is_users:
            use_users_run(run)

    @property
    def mode(self) -> str | None:
        """The mode that was asked for; None is left to W&B."""
        return (self._handoff and self._handoff.mode) or self._options.mode

    @property
    def is_known(self) -> bool:
        """Whether the run that is continued is known to exist."""
        return self._handoff is not None and self._handoff.is_of_known_run

    def start(self, save_dir: Path | None = None, earlier: RunRecord | None = None) -> None:
        """Define the metrics, and have the training's directory name the run.

        Args:
            save_dir: Directory of the training; None on a rank that is not the main process.
            earlier: Record of the training's earlier session, if it is resumed.
        """
        sessions.append(self)
        self._save_dir = save_dir
        self._hold_open()
        with self.guarded("the start of the training"):
            define_metrics(self.run)
            self.record = RunRecord.of_run(self.run, earlier, self.links.as_dict())
            self.record.is_jobs = self._handoff is not None and self._handoff.is_jobs
            self.goes_on = earlier is not None and earlier.id == self.run.id
            self.is_of_another_run = earlier is not None and not self.goes_on
            if self.goes_on and self.run.id in ended:  # it may have been read before that session was closed
                self._go_on_from(ended[self.run.id].batches, ended[self.run.id].epoch)
            if save_dir is None:
                return
            if self.how == "resume" and self.goes_on and self.record.taken is not None and not self._names_given:
                self._taken = set(self.record.taken)  # what else stands in the config, the training itself has written
            self.record.taken = sorted(self._taken)
            self.record.base_id = self.base_id if self.base_id != self.run.id else None
            if self.how == "resume" and not self.run.offline:
                self._look_back()
            self.record.save(save_dir)
            if self.record.best_epoch:
                self.run.summary.update({"best/epoch": self.record.best_epoch})

    def _hold_open(self) -> None:
        if opened_by_us(self.run):
            hold_open(self.run, "this package finishes it after the training")

    def _look_back(self) -> None:
        """Take over what stands in the run's summary: best values, and how many batches were trained."""
        summary = plain_summary(self.run.summary)
        self.record.floor = {**best_of(summary), **self.record.floor}
        self.record.best = {**self.record.floor, **self.record.best}
        self._go_on_from(summary.get("batch"), summary.get("epoch"))

    def _go_on_from(self, batches: Any, epoch: Any) -> None:
        """Have the record know how far the run has come: a process that was killed may have noted less."""
        self.record.batches = _further(self.record.batches, batches)
        self.record.epoch = _further(self.record.epoch, epoch)

    def log(self, row: Mapping[str, Any], *, is_best: bool) -> None:
        """Log a row. W&B has it when this returns; summary, disk and record follow in the background.

        Args:
            row: The row, with its ``epoch``.
            is_best: Whether the best checkpoint so far is of this epoch.
        """
        self._raise_error()
        with self.guarded("the row of an epoch") as reachable:
            if not reachable and self._cut_off_by is None:
                return
            try:
                if self._cut_off_by:
                    raise self._cut_off_by
                self.run.log(self._storable(row))
            except (ConnectionError, EOFError) as error:
                self._cut_off_by = None
                self.continue_on_disk(f"the run's wandb-core is gone ({cause_of(error)})", names_lost=True)
                self.run.log(self._storable(row))
            self.record.epoch = row["epoch"]
            is_new_best = is_best and self.record.best_epoch != row["epoch"]
            if is_new_best:
                self.record.best_epoch = row["epoch"]
            self.do_beside("the row of an epoch", lambda: self._follow(row, is_new_best=is_new_best))

    def _storable(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return a row without what W&B cannot store, each of which is named; its numbers are never among that."""
        return {key: value for key, value in row.items() if self._store(key, value)}

    def _store(self, key: Any, value: Any) -> bool:
        try:
            if not isinstance(key, str):
                msg = f"its name is of type {type(key).__name__}, and W&B takes strings"
                raise TypeError(msg)  # noqa: TRY301  # the same end as what W&B itself refuses
            if not isinstance(value, (int, float)):
                store(self.run, key, value)
        except (ConnectionError, EOFError):  # nothing can be stored any more, at this place
            raise
        except Exception:
            with self.guarded(str(key)):
                raise
            return False
        return True

    def _follow(self, row: Mapping[str, Any], *, is_new_best: bool) -> None:
        """Do what a row that was logged entails."""
        summary: dict[str, Any] = dict(self.record.note(self.run, row))
        if is_new_best:
            summary["best/epoch"] = row["epoch"]
        if summary:
            self.run.summary.update(summary)
        if self._options.flush_interval:
            flush(self.run, flushes_itself=self.run.id not in users_runs)
        if self._save_dir:
            self.record.save(self._save_dir)

    def summarize(self, values: Mapping[str, Any]) -> None:
        """Put values into the summary, in the background."""
        self.do_beside("the summary", lambda: self.run.summary.update(dict(values)))

    def log_beside(self, make_row: Callable[[], Mapping[str, Any]], what: str) -> None:
        """Make a row that is not an epoch's, and log it, in the background.

        Args:
            make_row: What makes the row.
            what: What it is, for a message.
        """

        def log() -> None:
            self.run.log(dict(make_row()))
            if self._save_dir and time.time() - self.record.written_at > RECORD_INTERVAL:
                self.record.save(self._save_dir)

        self.do_beside(what, log)

    def lose_launcher(self, message: str) -> None:
        """Say that the launcher is gone, and do without what it held."""
        if self.how == "attach":
            with self.guarded("what follows the launcher's end"):
                self.continue_on_disk(message)
        else:
            logger.warning("%s; run %s is not affected", message, self.run.id)

    def continue_on_disk(self, reason: str, *, names_lost: bool = False) -> None:
        """Go on in a further part of the same run, on disk, where the wandb-core that holds it is gone.

        Args:
            reason: Why, for the message.
            names_lost: Whether nobody else sends what the part that is lost has on disk.
        """
        self.background.settle(SETTLING)
        lost, record = self.run, self.record
        names_lost = users_runs.pop(lost.id, None) is not None or names_lost
        self._lost = self._is_on_disk = True  # unless the following succeeds
        named = RunOptions(project=record.project, entity=record.entity, mode="offline", dir=self._options.dir)
        options = replace(named, finish_timeout=self._options.finish_timeout)
        if self._save_dir and options.dir is None:
            options = replace(options, dir=str(self._save_dir))
        self.run, self.how, self._lost = init_run(options, run_id=lost.id, resume="allow"), "resume", False
        self._handoff = None
        if self not in owned:
            owned.append(self)
        self._hold_open()
        define_metrics(self.run)
        parts = [folder_of(lost)] if names_lost and holds_records(folder_of(lost)) else []
        msg = "%s; what it logs to run %s from now on is written to disk, send it when the run is over with: %s"
        logger.warning(msg, reason, lost.id, sync_command(*parts, folder_of(self.run)))

    def look_at_stop_button(self) -> None:
        """Find out in the background, while the epoch is validated, whether the Stop button of W&B was pressed."""
        if self.run.offline or self._look:
            return
        self._look, self._is_stop_wanted = threading.Event(), False

        def look() -> None:
            self._is_stop_wanted = self._stop_button.is_pressed(self.run)

        self.do_beside("the Stop button", look)
        self.background.do(self._look.set)

    def stop_requested(self) -> bool:
        """Return whether the Stop button of W&B was pressed, as far as is known within a second."""
        self.look_at_stop_button()  # unless somebody does so already
        if self._look and self._look.wait(STOP_TIMEOUT):
            self._look = None
        return self._is_stop_wanted

    def do_beside(self, what: str, action: Callable[[], None]) -> None:
        """Do something with the run in the background, while it can be reached.

        An error that is to end the training is kept for the training's thread.

        Args:
            what: What is being logged, for the message.
            action: What is done.
        """

        def job() -> None:
            try:
                with self.guarded(what) as reachable:
                    if reachable:
                        action()
            except Exception as error:  # noqa: BLE001  # whatever ``guarded`` lets through
                self._error = error

        self.background.do(job)

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error:
            raise error

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
            is_cut_off = isinstance(error, (ConnectionError, EOFError))
            self._lost = self._lost or is_cut_off or is_closed(self.run)
            if is_cut_off and not self._is_on_disk:
                self._cut_off_by = error
            is_over = self._lost and self._cut_off_by is None
            then = "the training goes on without logging" if is_over else "the training goes on"
            if what not in self._reported:  # once, not in every epoch
                self._reported.add(what)
                logger.warning("%s could not be logged to run %s: %s; %s", what, self.run.id, cause_of(error), then)

    def update_config(self, arguments: Mapping[str, Any]) -> None:
        """Add the training's arguments to the run's config and leave what the user or a sweep has set.

        An argument whose name is taken by another value stands under ``ultralytics`` instead.
        """
        config = self.run.config
        new = {key: value for key, value in arguments.items() if key not in self._taken}
        others = dict(self._other_values)
        for key in sorted(arguments.keys() - new):
            others.pop(key, None)
            if config.get(key) != arguments[key]:
                others[key] = arguments[key]
        if others != self._other_values:
            self._other_values = new["ultralytics"] = others
        config.update(new, allow_val_change=True)

    def close(self, exit_code: int) -> None:
        """Finish the run if this session opened it; leave it open otherwise."""
        self.background.settle(SETTLING)
        if self in sessions:
            sessions.remove(self)
        if users_runs.pop(self.run.id, None) is not None:
            ask_again(self.run)
        elif opened_by_us(self.run):
            let_finish(self.run)
        if self.how == "shared" and self._handoff and self._handoff.state == "open" and self._handoff.word:
            # Each writer's config replaces the run's: the launcher, which ends last, is to know this one's.
            leave_word(self._handoff.word, config=config_of(self.run))
        if self in owned:
            owned.remove(self)
            with self.guarded("the end of the training"):
                finish_run(self.run, exit_code)
        if self._save_dir:
            self.record.save(self._save_dir, closed=True)
            ended[self.run.id] = self.record
        self._raise_error()


def close_abandoned() -> None:
    """Close the runs of trainings that have failed here without reaching ``teardown``.

    A training that begins is the first to know, as a thread has one at a time; those of other threads go on.
    """
    here = threading.current_thread()
    for session in reversed([*owned]):
        if session.thread is here or not session.thread.is_alive():
            session.close(1)


def close_sessions_of(run_id: str, exit_code: int) -> None:
    """Close what this process itself still has open of a run that is taken back: nobody else ever will.

    Args:
        run_id: Id of the run.
        exit_code: The exit code of its training.
    """
    for session in [*sessions, *(session for session in owned if session not in sessions)]:
        if session.run.id == run_id:
            session.close(exit_code)


def get_wandb_run() -> Any:
    """Return the ``wandb.Run`` that this process logs to, and None on a rank that does not log.

    During a training that is the run of the training, which need not be ``wandb.run``; else the one that a
    :class:`WandbManager` or the script holds open. Where several threads train, each is given its own.
    """
    here = threading.current_thread()
    found = [session for session in sessions if not is_closed(session.run)]
    nearest = max(enumerate(found), key=lambda item: (item[1].thread is here, item[0]), default=None)
    return nearest[1].run if nearest else wandb_run()


def _further(recorded: int | None, seen: Any) -> int | None:
    """Return the higher number where both are known."""
    return max(recorded, seen) if recorded is not None and isinstance(seen, int) else recorded
