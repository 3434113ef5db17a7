"""The file by which a training names its run, so that it is continued when the training is resumed.

It lies in the training's directory and beside its checkpoints, which people copy elsewhere.
"""

from __future__ import annotations

import json
import math
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config.validation import ConfigurationError
from ultralytics_wb_ddp.distributed.processes import ProcessIdentity, is_worker
from ultralytics_wb_ddp.runs.handoff import Handoff
from ultralytics_wb_ddp.runs.trial_env import get_wandb_sweep_id
from ultralytics_wb_ddp.utils.files import write_json
from ultralytics_wb_ddp.wandb_client.run_state import get_next_step, run_url

if TYPE_CHECKING:
    from collections.abc import Mapping


FINAL_PREFIX = "final/"  # before the names of metrics in the summary
RECORD_FILE = "wandb_run.json"
TRAINING_END_TIMEOUT, TRAINING_POLL_INTERVAL = (
    10.0,
    0.1,
)  # seconds that a training may take to end; between two looks at it
_BETTER = {"max": max, "min": min}
# Of a training's numbers, by what they begin with.
BEST_DIRECTION = {"train": "min", "val": "min", "metrics": "max", "lr": None, "ranks": None}


@dataclass
class RunRecord:
    """The run of a training, and how far it has come.

    Attributes:
        id: Id of the run.
        project: Project of the run.
        entity: Entity of the run.
        url: Web address of the run, for people.
        next_step: W&B step after the last row.
        closed_at: When the run was closed, in seconds since 1970; None while it is open, and for ever if it was killed.
        written_at: When this was written.
        best: Best value of each metric and loss, by name.
        best_epoch: Epoch of the best checkpoint, counted from 1.
        base_id: Id that those of the other ranks' runs are derived from, if it is not this run's.
        imported_epochs: Last epoch of a training that was imported, not logged; None once it was logged.
        imported_mark: What tells the training that was imported from another one in the same directory.
        links: Web addresses of the run, its project, group and sweep, and of the runs of other nodes; offline, the
            command that sends the run.
        is_jobs: Whether the run ends with a job that has not come to its end, although the training has closed it.
        trains: The process that trains, as a :class:`KnownProcess`, and whether it does nothing else (``is_worker``);
            None once the run is closed.
        epoch: The last epoch that was logged, counted from 1; None where that is not known.
        batches: How many batches were trained, also those of epochs that were trained again.
        taken: Names in the run's config that are not the training's; None where that is not known.
        floor: The best values of earlier sessions; not written.
    """

    id: str
    project: str | None = None
    entity: str | None = None
    url: str | None = None
    next_step: int = 0
    closed_at: float | None = None
    written_at: float = 0.0
    best: dict[str, float] = field(default_factory=dict)
    best_epoch: int | None = None
    base_id: str | None = None
    imported_epochs: int | None = None
    imported_mark: str | None = None
    links: dict[str, Any] = field(default_factory=dict)
    is_job_run: bool = False
    trains: dict[str, Any] | None = None
    epoch: int | None = None
    batches: int | None = None
    reserved_config_keys: list[str] | None = None
    previous_best: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of_run(cls, run: Any, earlier: RunRecord | None, links: Mapping[str, Any]) -> RunRecord:
        """Return the record of a run that is open, with what is known of its earlier sessions.

        Args:
            run: The ``wandb.Run``.
            earlier: The record of an earlier session.
            links: Where the run is to be seen now.
        """
        record = earlier if earlier and earlier.id == run.id else cls(run.id)
        record.project, record.entity, record.url = run.project or None, run.entity or None, run_url(run)
        record.imported_epochs = record.imported_mark = None
        known = {name: link for name, link in record.links.items() if name != "sync_command"}
        record.links = {**known, **links}
        record.previous_best = dict(record.best)
        record.trains = {**asdict(ProcessIdentity.here()), "is_worker": is_worker()}
        return record

    @classmethod
    def find(cls, save_dir: Path, checkpoint: str | Path | None) -> RunRecord | None:
        """Return the record of a training that is resumed, or None.

        Args:
            save_dir: Directory of the training, as it stands in the checkpoint.
            checkpoint: The checkpoint, which may have been moved since.
        """
        for directory in candidate_dirs(save_dir, checkpoint):
            if record := cls._read(directory / RECORD_FILE):
                return record
        runs = (save_dir / "wandb").glob("*run-*/run-*.wandb")  # of the stock callback
        newest = max(runs, key=lambda file: file.stat().st_mtime, default=None)
        return cls(newest.stem.removeprefix("run-")) if newest else None

    @classmethod
    def _read(cls, file: Path) -> RunRecord | None:
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            content["id"] = str(content["id"])
            return cls(**{item.name: content[item.name] for item in fields(cls) if content.get(item.name) is not None})
        except (OSError, ValueError, KeyError, TypeError):  # absent or damaged: look further
            return None

    @property
    def is_open(self) -> bool:
        """Whether the run was never brought to its end; one of the stock callback's is not known to be."""
        return bool(self.written_at) and (self.closed_at is None or self.is_job_run)

    def live_training_pid(self) -> int | None:
        """Return the id of the process that trains, if it still runs: another one than this, on this host."""
        try:
            process = ProcessIdentity(
                **{key: value for key, value in (self.trains or {}).items() if key != "is_worker"}
            )
        except TypeError:  # there is none, or it is damaged
            return None
        is_found = process.is_of_this_host and process.pid != os.getpid() and process.is_alive()
        return process.pid if is_found else None

    def check_not_running(self) -> None:
        """Refuse to resume a training that goes on: both would write over each other's checkpoints and rows.

        One that is ending is given 10 s. A process that may do other things than train is not suspected.

        Raises:
            ConfigurationError: It goes on, as the workers of a launcher do that was killed.
        """
        deadline = time.monotonic() + TRAINING_END_TIMEOUT
        while (pid := self.live_training_pid()) and self.trains and self.trains.get("is_worker"):
            if time.monotonic() > deadline:
                msg = (
                    f"resume=True: the training of run {self.id} still goes on in process {pid}, and two would write "
                    f"over each other's checkpoints and rows; resume it when that has ended, or after 'kill {pid}'"
                )
                raise ConfigurationError(msg)
            time.sleep(TRAINING_POLL_INTERVAL)

    def handoff(self) -> Handoff:
        """Return what is needed to resume the run."""
        return Handoff(
            self.id,
            self.project,
            self.entity,
            next_step=self.next_step,
            closed_at=self.closed_at or self.written_at or None,
            is_complete=self.closed_at is not None,
        )

    def update_best(self, run: Any, row: Mapping[str, Any]) -> dict[str, dict[str, float]]:
        """Take a row that was logged into account.

        Returns:
            What the summary must hold for keys of which an earlier session has logged: W&B keeps the best of a
            session and forgets, when it is resumed, what was before.
        """
        summary = {}
        for key, value in row.items():
            best = _best_direction(key)
            if best is None or not isinstance(value, Real) or math.isnan(value):
                continue
            self.best[key] = _BETTER[best](float(value), self.best.get(key, float(value)))
            # Said once, it has to be said for good: W&B then leaves the key alone.
            if key in self.previous_best and not get_wandb_sweep_id():
                summary[key] = {best: self.best[key]}
        self.next_step = get_next_step(run)
        return summary

    def save(self, save_dir: Path, *, closed: bool = False) -> None:
        """Write the record to the training's directory and beside its checkpoints."""
        self.written_at = time.time()
        self.closed_at = self.written_at if closed else None
        self.trains = None if closed else self.trains
        content = {key: value for key, value in asdict(self).items() if key != "floor"}
        for directory in (save_dir, save_dir / "weights"):
            with suppress(OSError):  # a full disk: the training's own trouble comes first
                directory.mkdir(parents=True, exist_ok=True)
                write_json(directory / RECORD_FILE, content)


def candidate_dirs(save_dir: Path, checkpoint: str | Path | None) -> tuple[Path, ...]:
    """Return the directories in which a training that is resumed may have left something, the likeliest first.

    Args:
        save_dir: Directory of the training, as it stands in the checkpoint.
        checkpoint: The checkpoint, which may have been moved since.
    """
    is_file = isinstance(checkpoint, (str, Path)) and Path(checkpoint).is_file()
    here = Path(checkpoint).parent if checkpoint and is_file else None
    return (here, here.parent, save_dir) if here else (save_dir,)


def best_values(summary: Mapping[str, Any]) -> dict[str, float]:
    """Return the best values that a run's summary holds, by the name of the metric."""
    found = {}
    for key, value in summary.items():
        best = value.get(_best_direction(key)) if isinstance(value, dict) else None
        if isinstance(best, Real):
            found[key] = float(best)
    return found


def _best_direction(key: str) -> str | None:
    """Return which value of a metric is the best one, ``"max"`` or ``"min"``; None where there is none."""
    prefix, slash, _ = key.partition("/")
    return BEST_DIRECTION.get(prefix) if slash else None
