"""The run record, by which a resumed training finds its run.

The file is in the training's directory and beside its checkpoints, because users copy checkpoints elsewhere.
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
# Seconds that a training may take to end, and seconds between two checks of it.
TRAINING_END_TIMEOUT, TRAINING_POLL_INTERVAL = (
    10.0,
    0.1,
)
_BETTER = {"max": max, "min": min}
# By the prefix of a metric's name. None: no value of the metric is the best one.
BEST_DIRECTION = {"train": "min", "val": "min", "metrics": "max", "lr": None, "ranks": None}


@dataclass
class RunRecord:
    """The run of a training, with its progress.

    Attributes:
        id: Id of the run.
        project: Project of the run.
        entity: Entity of the run.
        url: Web address of the run.
        next_step: W&B step after the last row.
        closed_at: Time at which the run was closed, in seconds since 1970. None while it is open, and after a kill.
        exit_code: Exit code with which the run was closed.
        written_at: Time at which the record was written, in seconds since 1970.
        best: Best value of each metric and loss, by name.
        best_epoch: Epoch of the best checkpoint, counted from 1.
        base_id: Id that the ids of the other ranks' runs are derived from. None if it is the id of this run.
        imported_epochs: Last epoch of an imported training. None once the training was logged.
        imported_mark: Mark of an imported training that distinguishes it from another one in the same directory.
        links: Web addresses of the run, its project, group and sweep, and of the runs of other nodes. Offline, the
            command that sends the run.
        is_job_run: Whether the run ends with a job that still runs, although the training has closed the run.
        trains: The process that trains, as a :class:`ProcessIdentity`, and whether the process is a worker
            (``is_worker``). None once the run is closed.
        epoch: The last logged epoch, counted from 1; 0 before the first. None if it is not known.
        batches: Number of trained batches, repeated epochs included. None if it is not known.
        reserved_config_keys: Keys in the run's config that the training does not own. None if they are not known.
        previous_best: Best values of the previous sessions.
        directory: Directory of the training that the record was read from. It is not stored.
    """

    id: str
    project: str | None = None
    entity: str | None = None
    url: str | None = None
    next_step: int = 0
    closed_at: float | None = None
    exit_code: int = 0
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
    directory: Path | None = None

    @classmethod
    def of_run(cls, run: Any, previous: RunRecord | None, links: Mapping[str, Any]) -> RunRecord:
        """Return the record of an open run, with its previous sessions' values.

        Args:
            run: The ``wandb.Run``.
            previous: The record of the previous session.
            links: The current links of the run.
        """
        record = previous if previous and previous.id == run.id else cls(run.id, epoch=None if previous else 0)
        record.project, record.entity, record.url = run.project or None, run.entity or None, run_url(run)
        record.imported_epochs = record.imported_mark = None
        known = {name: link for name, link in record.links.items() if name != "sync_command"}
        record.links = {**known, **links}
        record.previous_best = dict(record.best)
        record.trains = {**asdict(ProcessIdentity.of_this_process()), "is_worker": is_worker()}
        return record

    @classmethod
    def find(cls, save_dir: Path, checkpoint: str | Path | None) -> RunRecord | None:
        """Return the record of a resumed training, or None.

        Args:
            save_dir: Directory of the training, as the checkpoint names it.
            checkpoint: The checkpoint, which may have been moved.
        """
        for directory in candidate_dirs(save_dir, checkpoint):
            if record := cls._read(directory / RECORD_FILE):
                record.directory = directory.parent if directory.name == "weights" else directory
                return record
        runs = (save_dir / "wandb").glob("*run-*/run-*.wandb")  # runs of the stock callback
        newest = max(runs, key=lambda file: file.stat().st_mtime, default=None)
        return cls(newest.stem.removeprefix("run-"), directory=save_dir) if newest else None

    @classmethod
    def of_resumed(cls, resume: Any, model: str) -> RunRecord | None:
        """Return the record of the training that a job resumes, or None.

        Args:
            resume: The training argument: a checkpoint, or True for the checkpoint that is the model.
            model: The model of the job.
        """
        if not resume:
            return None
        checkpoint = Path(model if resume is True else str(resume))
        return cls.find(checkpoint.parent.parent, checkpoint)

    @classmethod
    def _read(cls, file: Path) -> RunRecord | None:
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            content["id"] = str(content["id"])
            names = [item.name for item in fields(cls) if item.name != "directory"]
            return cls(**{name: content[name] for name in names if content.get(name) is not None})
        except (OSError, ValueError, KeyError, TypeError):  # the file is absent or damaged: try the next directory
            return None

    @property
    def is_unfinished(self) -> bool:
        """Whether the training or its job ended before the run was finished: by a kill, a signal or an error.

        A run of the stock callback counts as finished.
        """
        return bool(self.written_at) and (self.closed_at is None or self.exit_code != 0 or self.is_job_run)

    def live_training_pid(self) -> int | None:
        """Return the pid of another process that still trains, or None.

        Only processes of this host count.
        """
        try:
            process = ProcessIdentity(
                **{key: value for key, value in (self.trains or {}).items() if key != "is_worker"}
            )
        except TypeError:  # the record has no process, or is damaged
            return None
        is_live = process.is_of_this_host and process.pid != os.getpid() and process.is_alive()
        return process.pid if is_live else None

    def check_not_running(self) -> None:
        """Refuse to resume a training that is still running.

        Both trainings would overwrite each other's checkpoints and rows. A training may take 10 s to end. Only a
        worker counts, because another process may live on after its training.

        Raises:
            ConfigurationError: The training is still running, as workers do after their launcher was killed.
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
        """Return the handoff that resumes the run."""
        return Handoff(
            self.id,
            self.project,
            self.entity,
            next_step=self.next_step,
            closed_at=self.closed_at or self.written_at or None,
            is_complete=self.closed_at is not None,
            training_dir=self.directory,
        )

    def update_best(self, run: Any, row: Mapping[str, Any]) -> dict[str, dict[str, float]]:
        """Update the best values and the next step from a logged row.

        Args:
            run: The ``wandb.Run``.
            row: The logged row.

        Returns:
            The summary values of keys that a previous session logged. W&B keeps the best value of one session only.
        """
        summary = {}
        for key, value in row.items():
            best = _best_direction(key)
            if best is None or not isinstance(value, Real) or math.isnan(value):
                continue
            self.best[key] = _BETTER[best](float(value), self.best.get(key, float(value)))
            # After the first update W&B does not update the key any more, so every row must.
            if key in self.previous_best and not get_wandb_sweep_id():
                summary[key] = {best: self.best[key]}
        self.next_step = get_next_step(run)
        return summary

    def save(self, save_dir: Path, *, exit_code: int | None = None) -> None:
        """Write the record to the training's directory and beside its checkpoints.

        Args:
            save_dir: Directory of the training.
            exit_code: Exit code with which the run was closed; None while it is open.
        """
        is_open = exit_code is None
        self.written_at = time.time()
        self.closed_at, self.exit_code = None if is_open else self.written_at, exit_code or 0
        self.trains = self.trains if is_open else None
        content = {key: value for key, value in asdict(self).items() if key not in {"previous_best", "directory"}}
        for directory in (save_dir, save_dir / "weights"):
            with suppress(OSError):  # the disk may be full: an error of the training itself must come first
                directory.mkdir(parents=True, exist_ok=True)
                write_json(directory / RECORD_FILE, content)


def candidate_dirs(save_dir: Path, checkpoint: str | Path | None) -> tuple[Path, ...]:
    """Return the directories that may hold a resumed training's files, likeliest first.

    Args:
        save_dir: Directory of the training, as the checkpoint names it.
        checkpoint: The checkpoint, which may have been moved.
    """
    is_file = isinstance(checkpoint, (str, Path)) and Path(checkpoint).is_file()
    here = Path(checkpoint).parent if checkpoint and is_file else None
    return (here, here.parent, save_dir) if here else (save_dir,)


def best_values(summary: Mapping[str, Any]) -> dict[str, float]:
    """Return the best values in a run's summary, by metric name."""
    best_by_key = {}
    for key, value in summary.items():
        best = value.get(_best_direction(key)) if isinstance(value, dict) else None
        if isinstance(best, Real):
            best_by_key[key] = float(best)
    return best_by_key


def _best_direction(key: str) -> str | None:
    """Return ``"max"`` or ``"min"``, or None for a metric without a best value."""
    prefix, slash, _ = key.partition("/")
    return BEST_DIRECTION.get(prefix) if slash else None
