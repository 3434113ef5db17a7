"""Log one training to a run without letting W&B's errors end it.

The process that opened a run finishes it. An adopted or attached run is left open.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config.options import RunOptions
from ultralytics_wb_ddp.runs import journal
from ultralytics_wb_ddp.runs.handoff import Handoff, write_handback
from ultralytics_wb_ddp.runs.lifecycle import define_metrics, finish_run, give_up_run, open_on_disk
from ultralytics_wb_ddp.runs.links import Links
from ultralytics_wb_ddp.runs.open_runs import (
    adopt_user_run,
    block_finish,
    is_ours,
    mark_if_preempted,
    registry,
    unblock_finish,
)
from ultralytics_wb_ddp.runs.recent_data import RecentData
from ultralytics_wb_ddp.runs.run_record import RunRecord, best_values
from ultralytics_wb_ddp.runs.stop_button import StopButton
from ultralytics_wb_ddp.utils.logging import format_exception, logger
from ultralytics_wb_ddp.utils.threads import BackgroundQueue
from ultralytics_wb_ddp.wandb_client.internals import (
    flush,
    is_core_lost,
    log_artifact,
    merge_runs,
    restore_server_queries,
    shorten_table_names,
    unwatch_calls,
    watch_calls,
)
from ultralytics_wb_ddp.wandb_client.run_file import read_run
from ultralytics_wb_ddp.wandb_client.run_state import (
    get_config,
    get_run_dir,
    get_summary,
    is_closed,
    sync_command,
    wandb_run,
)
from ultralytics_wb_ddp.wandb_client.storage import cannot_hold_rows, ensure_writable_directories, store_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path


STOP_POLL_TIMEOUT = 1.0  # seconds that the training waits for the state of the Stop button
RECORD_INTERVAL = 1.0  # seconds between two writes of the number of trained batches
RECENT_ROWS, RECENT_ROWS_OF_PROGRAM = 5, 256  # rows that are kept in memory; a program may log many in a second
BACKGROUND_DRAIN_TIMEOUT = 10.0  # seconds that the training waits for the background queue


class GuardedRun:
    """A run whose errors are kept away from the training.

    Attributes:
        wandb_run: The ``wandb.Run``.
        origin: The origin of the run: ``"adopt"``, ``"attach"``, ``"resume"``, ``"shared"`` or ``"new"``.
        base_id: Id that the runs of all ranks are derived from.
        is_resumed: Whether a resumed training continues in the run in which it began.
        is_of_another_run: Whether a resumed training began in another run.
        links: Web addresses of the run.
        thread: The thread that trains.
        record: The run record.
        background: Queue of work that the training does not wait for.
        is_program: Whether a program logs to the run by its own calls.
        is_epoch_being_saved: Whether an epoch is on its way to disk, and its row will follow.
        failed_exit_code: Function that returns the exit code of a process of this training that has failed, or 0.
        explain_lost_core: Function that returns why the run's wandb-core may be gone, or an empty string.
    """

    def __init__(self, wandb_run: Any, origin: str, options: RunOptions, handoff: Handoff | None = None) -> None:
        self.wandb_run = wandb_run
        self.origin = origin
        self.base_id = str(wandb_run.id)
        self.is_resumed = False
        self.links = Links()
        self.thread = threading.current_thread()
        self._options = options
        self._handoff = handoff
        self._lost = False
        # The error that showed the end of wandb-core. It is kept until the next row.
        self._connection_error: Exception | None = None
        self._is_continued_offline = False
        self._has_left_disk = False
        self._continuing = threading.RLock()
        self.record = RunRecord(wandb_run.id)
        self._save_dir: Path | None = None
        self.is_of_another_run = False
        # The config of an attached run is not known here, but the handoff holds its keys.
        self._has_given_config_keys = bool(handoff and handoff.config_keys)
        self._reserved_config_keys = set(handoff.config_keys if handoff else ())
        if origin in {"adopt", "resume", "shared"}:
            self._reserved_config_keys |= set(wandb_run.config.keys())
        self._conflicting_args: dict[str, Any] = {}
        self._reported: set[str] = set()
        self._disk_checked_at = 0.0
        self._recent = RecentData(RECENT_ROWS)
        self._journals: tuple[Path, ...] = ()
        self._stop_button = StopButton()
        self._is_stop_requested = False
        self._stop_poll: threading.Event | None = None  # set when the query of the button is done; None without a query
        self.background = BackgroundQueue("wandb-ddp-rows")
        self.is_program = False
        self.is_epoch_being_saved = False
        self.failed_exit_code: Callable[[], int] = lambda: 0
        self.explain_lost_core: Callable[[], str] = str
        self._error: Exception | None = None  # from the background queue, raised later in the training's thread
        ensure_writable_directories(get_run_dir(wandb_run).parent)
        shorten_table_names(wandb_run)
        is_users = (
            handoff.is_user_run if origin == "attach" and handoff else origin == "adopt" and not is_ours(wandb_run)
        )
        if is_users:
            adopt_user_run(wandb_run)

    @property
    def mode(self) -> str | None:
        """The requested mode. None leaves the mode to W&B."""
        return (self._handoff and self._handoff.mode) or self._options.mode

    @property
    def has_existed(self) -> bool:
        """Whether the continued run is known to exist."""
        return self._handoff is not None and self._handoff.is_of_known_run

    def start(self, save_dir: Path | None = None, previous: RunRecord | None = None) -> None:
        """Define the metrics and write the run record to the training's directory.

        Args:
            save_dir: Directory of the training. None on a rank that is not the main process.
            previous: Record of the training's previous session, if the training is resumed.
        """
        registry.trainings.append(self)
        self._save_dir = save_dir
        self._block_finish()
        with self.guard("the start of the training"):
            define_metrics(self.wandb_run)
            self._record_in_journals(save_dir)
            self.record = RunRecord.of_run(self.wandb_run, previous, self.links.as_dict())
            self.record.is_job_run = self._handoff is not None and self._handoff.is_job_run
            self.is_resumed = previous is not None and previous.id == self.wandb_run.id
            self.is_of_another_run = previous is not None and not self.is_resumed
            # The record file may have been read before the previous session was closed.
            if self.is_resumed and self.wandb_run.id in registry.records:
                self._continue_from(
                    registry.records[self.wandb_run.id].batches, registry.records[self.wandb_run.id].epoch
                )
            if save_dir is None:
                return
            if self.is_resumed and self.wandb_run.offline:
                self._continue_from(None, self._last_epoch_on_disk(save_dir))
            if (
                self.origin == "resume"
                and self.is_resumed
                and self.record.reserved_config_keys is not None
                and not self._has_given_config_keys
            ):
                # The training itself has written the other keys of the config.
                self._reserved_config_keys = set(self.record.reserved_config_keys)
            self.record.reserved_config_keys = sorted(self._reserved_config_keys)
            self.record.base_id = self.base_id if self.base_id != self.wandb_run.id else None
            if self.origin == "resume" and not self.wandb_run.offline:
                self._load_previous_best()
            self.record.save(save_dir)
            if self.record.best_epoch:
                self.wandb_run.summary.update({"best/epoch": self.record.best_epoch})

    def start_program(self) -> None:
        """Keep the run open for a program. Its metrics are the program's own, so none are defined."""
        registry.trainings.append(self)
        self.is_program = True
        self._recent = RecentData(RECENT_ROWS_OF_PROGRAM)
        self._block_finish()
        with self.guard("the start of the program"):
            self._record_in_journals(None)
            self.record = RunRecord.of_run(self.wandb_run, None, self.links.as_dict())
        if self._options.on_error == "warn":
            self._watch_program()

    def _watch_program(self) -> None:
        """Continue the run on disk if a call of the program finds that its wandb-core is gone."""
        run = self.wandb_run

        def continue_run(error: Exception) -> Any:
            if registry.termination or is_closed(run):  # the service process sends what is on disk
                return None
            with self.guard("a call of the program"):
                self._continue_after(run, error)
                return self.wandb_run
            return None

        watch_calls(run, on_row=self._note_row, on_lost=continue_run)

    def _note_row(self, row: Mapping[str, Any]) -> None:
        """Keep a row that the program has logged, and check the disk, once a second at most."""
        self._recent.rows.append(row)
        if self.wandb_run.offline and time.monotonic() - self._disk_checked_at > RECORD_INTERVAL:
            self._disk_checked_at = time.monotonic()
            self.run_in_background("a row of the program", self._leave_full_disk)

    def _record_in_journals(self, save_dir: Path | None) -> None:
        """Record the session in the training's and the launcher's journal, and the launcher's session in this one's."""
        run, handoff = self.wandb_run, self._handoff
        launcher_dir = handoff.launcher_dir if handoff else None
        self._journals = tuple(place for place in (save_dir, launcher_dir) if place)
        folder = launcher_dir if self.origin == "attach" and launcher_dir else get_run_dir(run)
        if is_ours(run):
            open_run = registry.opened[run.id]
            open_run.record_opening(*self._journals)
            if open_run.recent and registry.program_of(run.id) not in {None, self}:  # it keeps the training's rows, too
                self._recent.artifacts = open_run.recent.artifacts
            else:
                open_run.recent = self._recent
        elif self.origin == "adopt":
            journal.record_opening(
                (folder, *self._journals),
                folder,
                run.id,
                mode=run.settings.mode,
                first_step=int(run.starting_step or 0),
            )
        if launcher_dir:
            journal.record([*self._journals, folder], launcher_dir, id=run.id)

    def _block_finish(self) -> None:
        if is_ours(self.wandb_run):
            end = (
                "wandb_init finishes it at its end"
                if self.is_program
                else "this package finishes it after the training"
            )
            block_finish(self.wandb_run, end)

    def _load_previous_best(self) -> None:
        """Load the best values, the batches and the epoch from the summary."""
        summary = get_summary(self.wandb_run.summary)
        self.record.previous_best = {**best_values(summary), **self.record.previous_best}
        self.record.best = {**self.record.previous_best, **self.record.best}
        if self.is_resumed:  # otherwise they are of an earlier training
            self._continue_from(summary.get("batch"), summary.get("epoch"))

    def _last_epoch_on_disk(self, save_dir: Path) -> int | None:
        """Return the last epoch that an earlier session has logged; its process may have been killed since."""
        folder = get_run_dir(self.wandb_run).resolve()
        sessions = [session for session in journal.find_sessions([save_dir]) if session.id == self.wandb_run.id]
        for session in reversed([session for session in sessions if session.folder != folder]):
            with suppress(OSError, ValueError):  # a damaged file
                if epochs := [row["epoch"] for row in read_run(session.folder).rows("epoch", "lr/pg0")]:
                    return int(max(epochs))
        return None

    def _continue_from(self, batches: Any, epoch: Any) -> None:
        """Raise the record's batch and epoch. A killed process may have recorded less."""
        self.record.batches = _further(self.record.batches, batches)
        self.record.epoch = _further(self.record.epoch, epoch)

    def log(self, row: Mapping[str, Any], *, is_best: bool) -> None:
        """Log the row of an epoch.

        W&B has the row when this returns. The summary, the flush to disk and the record follow in the background.

        Args:
            row: The row, with its ``epoch``.
            is_best: Whether this epoch gave the best checkpoint so far.
        """
        self._raise_deferred()
        with self.guard("the row of an epoch") as reachable:
            if not reachable:
                return
            used: list[Any] = []

            def log_row() -> None:
                used[:] = [self.wandb_run]
                self.wandb_run.log(self._storable(row))

            self.call(log_row)
            with self._continuing:
                if used and used[0] is not self.wandb_run:  # another thread has continued the run meanwhile
                    for lost in self._recent.unwritten_rows(get_run_dir(used[0]), [row]):
                        self.wandb_run.log(self._storable(lost))
                self._recent.rows.append(row)
            self.record.epoch = row["epoch"]
            is_new_best = is_best and self.record.best_epoch != row["epoch"]
            if is_new_best:
                self.record.best_epoch = row["epoch"]
            self.run_in_background("the row of an epoch", lambda: self._after_row(row, is_new_best=is_new_best))

    def call(self, action: Callable[[], Any]) -> None:
        """Call a function that uses the run. If wandb-core is gone, continue the run on disk and call it again.

        Args:
            action: The function. It takes the run from :attr:`wandb_run` in each call.
        """
        lost, error = self.wandb_run, self._connection_error
        if error is None:
            try:
                action()
            except Exception as caught:
                if not is_core_lost(caught):
                    raise
                error = caught
            else:
                return
        if registry.termination:  # the service process sends what is on disk, and the process ends
            return
        self._drain()
        self._continue_after(lost, error)
        action()

    def _continue_after(self, lost: Any, error: Exception) -> None:
        """Continue the run on disk, unless another thread has done so since the error of a lost session."""
        with self._continuing:  # checkpoints are logged by another thread than rows
            if self.wandb_run is lost:
                explanation = self.explain_lost_core() if self.origin == "attach" else ""
                self._continue_with_recent_data(
                    explanation or f"the run's wandb-core is gone ({format_exception(error)})"
                )

    def _storable(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values that W&B can store. Warn of each other value. Numbers are always kept."""
        return {key: value for key, value in row.items() if self._store(key, value)}

    def _store(self, key: Any, value: Any) -> bool:
        try:
            if not isinstance(key, str):
                msg = f"its name is of type {type(key).__name__}, and W&B takes strings"
                raise TypeError(msg)  # noqa: TRY301  # handled like a value that W&B itself refuses
            if not isinstance(value, (int, float)):
                store_value(self.wandb_run, key, value)
        except Exception as error:
            if is_core_lost(error):  # no value can be stored
                raise
            with self.guard(str(key)):
                raise
            return False
        return True

    def _after_row(self, row: Mapping[str, Any], *, is_new_best: bool) -> None:
        summary: dict[str, Any] = dict(self.record.update_best(self.wandb_run, row))
        if is_new_best:
            summary["best/epoch"] = row["epoch"]
        if summary:
            self.wandb_run.summary.update(summary)
        if self._options.flush_interval:
            flush(self.wandb_run, flushes_itself=self.wandb_run.id not in registry.user_runs)
        if self._save_dir:
            self.record.save(self._save_dir)
        self._leave_full_disk()

    def _leave_full_disk(self) -> None:
        """Continue an offline run in another directory, once, if its disk is full."""
        if self._has_left_disk or not cannot_hold_rows(self.wandb_run):
            return
        self._has_left_disk = True
        with self._continuing:
            self._continue_with_recent_data(f"W&B cannot write to {get_run_dir(self.wandb_run)}, its disk may be full")

    def update_summary(self, values: Mapping[str, Any]) -> None:
        """Update the run's summary in the background."""
        self.run_in_background("the summary", lambda: self.wandb_run.summary.update(dict(values)))

    def log_in_background(self, make_row: Callable[[], Mapping[str, Any]], description: str) -> None:
        """Log a row that is not an epoch's, in the background.

        Args:
            make_row: Function that returns the row.
            description: Description of the row, for a message.
        """

        def log() -> None:
            self.wandb_run.log(dict(make_row()))
            if self._save_dir and time.time() - self.record.written_at > RECORD_INTERVAL:
                self.record.save(self._save_dir)

        self.run_in_background(description, log)

    def on_launcher_lost(self, message: str) -> None:
        """Warn that the launcher has ended, and continue an attached run offline.

        Args:
            message: The reason, for the warning.
        """
        if self.origin == "attach":
            with self.guard("what follows the launcher's end"):
                self._drain()
                with self._continuing:
                    self.continue_offline(message)
        else:
            logger.warning("%s; run %s is not affected", message, self.wandb_run.id)

    def continue_offline(self, reason: str) -> None:
        """Continue the same run on disk after its wandb-core has ended.

        Args:
            reason: The reason, for the message.
        """
        self._connection_error = None
        lost, record = self.wandb_run, self.record
        is_users = registry.user_runs.pop(lost.id, None) is not None
        registry.forget_unsent(lost)  # the end of the continued run names the command for all parts
        if is_users or is_ours(lost):
            give_up_run(lost)
        self._lost = self._is_continued_offline = True  # lost until the run is open again
        options = RunOptions(project=record.project, entity=record.entity, dir=self._options.dir)
        options = replace(options, finish_timeout=self._options.finish_timeout)
        if self._save_dir and options.dir is None:
            options = replace(options, dir=str(self._save_dir))
        self.wandb_run, self.origin, self._lost = open_on_disk(lost, options, *self._journals), "resume", False
        registry.opened[lost.id].recent = self._recent
        self._handoff = None
        if self not in registry.owned:
            registry.owned.append(self)
        self._block_finish()
        if not self.is_program:
            define_metrics(self.wandb_run)
        self.wandb_run.config.update(self._recent.config, allow_val_change=True)
        folder = get_run_dir(self.wandb_run)
        msg = "%s; what it logs to run %s from now on is written to disk, send it when the run is over with: %s"
        logger.warning(msg, reason, lost.id, sync_command(folder))

    def _continue_with_recent_data(self, reason: str) -> None:
        """Continue the run on disk, and log the last rows and artifacts again that the lost session has not written."""
        lost, folder = self.wandb_run, get_run_dir(self.wandb_run)
        program = registry.program_of(lost.id)
        if program in {None, self}:
            self.continue_offline(reason)
            self._recent.log_again(self.wandb_run, folder, self._storable)
        else:  # the run of the program in which the training runs; it has kept the rows of the training, too
            program._continue_with_recent_data(reason)  # noqa: SLF001  # an object of the same class
            self.wandb_run = program.wandb_run
            self._recent.log_artifacts_again(self.wandb_run, folder)
        if self.is_program:
            merge_runs(lost, self.wandb_run)
            self._watch_program()

    def _drain(self) -> None:
        """Wait for the background queue, in the training's thread."""
        if threading.current_thread() is self.thread:
            self.background.drain(BACKGROUND_DRAIN_TIMEOUT)

    def log_artifact(self, artifact: Any, aliases: list[str]) -> Any:
        """Log an artifact. If wandb-core turns out to be gone, the artifact is logged again to the continued run.

        Args:
            artifact: The ``wandb.Artifact``.
            aliases: Aliases of the artifact.
        """
        logged = log_artifact(self.wandb_run, artifact, aliases)
        self._recent.artifacts.append((artifact, aliases))
        return logged

    def poll_stop_button(self) -> None:
        """Query the Stop button of W&B in the background, during the validation."""
        if self.wandb_run.offline or self._stop_poll:
            return
        self._stop_poll, self._is_stop_requested = threading.Event(), False

        def query() -> None:
            self._is_stop_requested = self._stop_button.is_pressed(self.wandb_run)

        self.run_in_background("the Stop button", query)
        self.background.submit(self._stop_poll.set)

    def stop_requested(self) -> bool:
        """Return whether the Stop button of W&B was pressed. Waits 1 s at most."""
        self.poll_stop_button()
        if self._stop_poll and self._stop_poll.wait(STOP_POLL_TIMEOUT):
            self._stop_poll = None
        return self._is_stop_requested

    def run_in_background(self, description: str, action: Callable[[], None]) -> None:
        """Run an action in the background, while the run is reachable.

        An error that must end the training is raised later, in the training's thread.

        Args:
            description: Description of the logged values, for the message.
            action: The action.
        """

        def job() -> None:
            try:
                with self.guard(description) as reachable:
                    if reachable:
                        self.call(action)
            except Exception as error:  # noqa: BLE001  # ``guard`` lets only errors through that must end the training
                self._error = error

        self.background.submit(job)

    def _raise_deferred(self) -> None:
        error, self._error = self._error, None
        if error:
            raise error

    @contextmanager
    def guard(self, description: str) -> Iterator[bool]:
        """Keep errors of W&B away from the training.

        Args:
            description: Description of the logged values, for the message.

        Yields:
            True, or False once the run can be neither reached nor continued.
        """
        with self._continuing:  # another thread may be continuing the run
            run, is_reachable = self.wandb_run, not self._lost or self._connection_error is not None
        try:
            yield is_reachable
        except Exception as error:
            if self._options.on_error == "raise":
                raise
            with self._continuing:  # another thread may have continued the run meanwhile
                is_cut_off = is_core_lost(error)
                if self.wandb_run is run:
                    self._lost = self._lost or is_cut_off or is_closed(run)
                    if is_cut_off and not self._is_continued_offline:
                        self._connection_error = error
            is_over = self._lost and self._connection_error is None
            outcome = "the training goes on without logging" if is_over else "the training goes on"
            if description not in self._reported:  # once, not in every epoch
                self._reported.add(description)
                msg = "%s could not be logged to run %s: %s; %s"
                logger.warning(msg, description, self.wandb_run.id, format_exception(error), outcome)

    def update_config(self, arguments: Mapping[str, Any]) -> None:
        """Add the training's arguments to the run's config.

        Values that the user or a sweep has set stay. An argument with such a name is stored under ``ultralytics``.
        """
        config = self.wandb_run.config
        new = {key: value for key, value in arguments.items() if key not in self._reserved_config_keys}
        others = dict(self._conflicting_args)
        for key in sorted(arguments.keys() - new):
            others.pop(key, None)
            if config.get(key) != arguments[key]:
                others[key] = arguments[key]
        if others != self._conflicting_args:
            self._conflicting_args = new["ultralytics"] = others
        self._recent.config |= new
        config.update(new, allow_val_change=True)

    def report_exit_code(self, exit_code: int) -> None:
        """Report the exit code of a failed training to the launcher, whose run it is.

        Args:
            exit_code: The exit code. The launcher knows only that one of its processes has failed.
        """
        if self.origin == "attach" and exit_code and self._handoff and self._handoff.handback_file:
            write_handback(self._handoff.handback_file, next_step=self._handoff.next_step, exit_code=exit_code)

    def _flush_for_owner(self) -> None:
        """Have the last rows written to disk if another object finishes the run. Its wandb-core may die before."""
        if self not in registry.owned and not is_closed(self.wandb_run):
            with self.guard("the end of the training") as is_reachable:
                if is_reachable:
                    self.call(lambda: flush(self.wandb_run, flushes_itself=False))

    def close(self, exit_code: int) -> None:
        """Finish the run if this object opened it. Leave other runs open.

        Args:
            exit_code: Exit code of the training. That of SIGTERM, from another rank, marks the run as preempted.
        """
        self.background.drain(BACKGROUND_DRAIN_TIMEOUT)
        self._flush_for_owner()
        mark_if_preempted(self.wandb_run, exit_code)
        self.report_exit_code(exit_code)
        if self in registry.trainings:
            registry.trainings.remove(self)
        if self.is_program:
            unwatch_calls(self.wandb_run)  # from now on the service process sends what a lost wandb-core has not sent
        if registry.program_of(self.wandb_run.id):
            pass  # the program in which the training ran goes on
        elif registry.user_runs.pop(self.wandb_run.id, None) is not None:
            restore_server_queries(self.wandb_run)
        elif is_ours(self.wandb_run):
            unblock_finish(self.wandb_run)
        if self.origin == "shared" and self._handoff and self._handoff.state == "open" and self._handoff.handback_file:
            # Each writer's config replaces the run's. The launcher ends last, so it needs this writer's config.
            write_handback(self._handoff.handback_file, config=get_config(self.wandb_run))
        if self in registry.owned:
            registry.owned.remove(self)
            with self.guard("the end of the training"):
                finish_run(self.wandb_run, exit_code)
        if self._save_dir:
            self.record.save(self._save_dir, exit_code=registry.true_exit_code(exit_code))
            registry.records[self.wandb_run.id] = self.record
        self._raise_deferred()


def close_failed_runs() -> None:
    """Close the runs of trainings that failed without reaching ``teardown``.

    A thread runs one training at a time. So a training that begins shows that its thread's previous training failed.
    The trainings of other threads continue, and so does the program in which the training begins.
    """
    this_thread = threading.current_thread()
    for guarded_run in reversed([*registry.owned]):
        if not guarded_run.is_program and (guarded_run.thread is this_thread or not guarded_run.thread.is_alive()):
            guarded_run.close(1)


def close_runs_with_id(run_id: str, exit_code: int) -> None:
    """Close the guarded runs of this process that log to a run.

    The launcher calls this before it continues the run, because no other code closes them.

    Args:
        run_id: Id of the run.
        exit_code: The exit code of its training.
    """
    for guarded_run in [*registry.trainings, *(owned for owned in registry.owned if owned not in registry.trainings)]:
        if guarded_run.wandb_run.id == run_id:
            guarded_run.close(exit_code)


def get_wandb_run() -> Any:
    """Return the ``wandb.Run`` that this process logs to.

    During a training this is the training's run, which may differ from ``wandb.run``. In a :func:`wandb_init` block it
    is the run of the block. Otherwise it is the run that a :class:`WandbManager` or the script holds open. If several
    threads train, each thread gets its own run.

    Returns:
        The run, or None on a rank that does not log.
    """
    this_thread = threading.current_thread()
    unclosed = [guarded_run for guarded_run in registry.trainings if not is_closed(guarded_run.wandb_run)]
    nearest = max(enumerate(unclosed), key=lambda item: (item[1].thread is this_thread, item[0]), default=None)
    return nearest[1].wandb_run if nearest else wandb_run()


def _further(recorded: int | None, seen: Any) -> int | None:
    """Return the higher number if both are known, else the recorded one."""
    return max(recorded, seen) if recorded is not None and isinstance(seen, int) else recorded
