"""The record by which a process learns which run to continue, in the environment and in a training's directory.

``WANDB_RUN_ID``, ``WANDB_PROJECT`` and ``WANDB_ENTITY`` name the run as W&B itself understands them, so that they
are honoured whoever set them. What W&B has no variable for travels in ``ULTRALYTICS_WB_DDP`` as JSON.
"""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config import MODES, ConfigurationError, check_run_id

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["VARIABLE", "Handoff", "is_closed", "next_step_of"]

VARIABLE = "ULTRALYTICS_WB_DDP"
RECORD_FILE = "wandb_run.json"
REPLY_FILE = "next_step"  # beside the run's files in the launcher
VERSION = 1
STATES = ("open", "closed")


@dataclass(frozen=True)
class Handoff:
    """Which run to continue, and how.

    Attributes:
        run_id: Id of the run.
        project: Project of the run; None is left to whoever opens it.
        entity: Entity of the run; None is the default of the account.
        state: ``"open"``: the run is open in the launcher, workers attach. ``"closed"``: workers resume it.
        host: Name of the launcher's host: an open run can be reached from there only. None when unknown.
        mode: Mode in which the run was made; None is left to W&B.
        next_step: W&B step after the last row that the launcher wrote.
        closed_at: When the launcher closed the run, in seconds since 1970.
        files_dir: Directory of the run's files in the launcher, where an attached worker must put images and tables.
        config_keys: Names in the run's config that were set before the training, which leaves them as they are.
    """

    run_id: str
    project: str | None = None
    entity: str | None = None
    state: str = "closed"
    host: str | None = None
    mode: str | None = None
    next_step: int = 0
    closed_at: float | None = None
    files_dir: str | None = None
    config_keys: tuple[str, ...] = ()

    @classmethod
    def of_run(cls, run: Any, *, is_open: bool) -> Handoff:
        """Return the handoff of a ``wandb.Run`` that is open, or was closed just now."""
        if run.disabled:
            return cls(run_id=run.id, state="open", mode="disabled")
        return cls(
            run_id=run.id,
            project=run.project or None,
            entity=run.entity or None,
            state="open" if is_open else "closed",
            host=socket.gethostname(),
            mode="offline" if run.offline else "online",
            next_step=next_step_of(run),
            closed_at=None if is_open else time.time(),
            files_dir=run.dir,
            config_keys=tuple(str(key) for key in run.config.keys() if not str(key).startswith("_")),  # noqa: SIM118
        )

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Handoff | None:
        """Return the handoff in the environment, or None if there is none.

        A run that somebody else named by ``WANDB_RUN_ID`` counts as closed, also beside an older record of ours.

        Raises:
            ConfigurationError: The id is none that W&B takes, or ``ULTRALYTICS_WB_DDP`` is no JSON object of the
                version that this release writes.
        """
        record = _read_record(env.get(VARIABLE, ""))
        run_id = env.get("WANDB_RUN_ID", "")
        if not run_id:
            return None
        if record.get("run_id") != run_id:
            record = {}
        return cls(
            run_id=check_run_id(run_id, "WANDB_RUN_ID"),
            project=env.get("WANDB_PROJECT") or None,
            entity=env.get("WANDB_ENTITY") or None,
            state=record.get("state", "closed"),
            host=record.get("host"),
            mode=record.get("mode"),
            next_step=record.get("next_step", 0),
            closed_at=record.get("closed_at"),
            files_dir=record.get("files_dir"),
            config_keys=tuple(record.get("config_keys", ())),
        )

    def to_env(self) -> dict[str, str]:
        """Return the environment variables that :meth:`from_env` reads back."""
        record = {
            "version": VERSION,
            "run_id": self.run_id,
            "state": self.state,
            "host": self.host,
            "mode": self.mode,
            "next_step": self.next_step,
            "closed_at": self.closed_at,
            "files_dir": self.files_dir,
            "config_keys": list(self.config_keys),
        }
        named = {"WANDB_RUN_ID": self.run_id, "WANDB_PROJECT": self.project, "WANDB_ENTITY": self.entity}
        return {**{name: value for name, value in named.items() if value}, VARIABLE: json.dumps(record)}

    @classmethod
    def from_directory(cls, save_dir: Path) -> Handoff | None:
        """Return the run that an earlier session of a training logged to, or None.

        It is named by the ``wandb_run.json`` that this package writes, or else by the newest run file that the stock
        callback left in the training's ``wandb`` folder.
        """
        try:
            record = json.loads((save_dir / RECORD_FILE).read_text(encoding="utf-8"))
            return cls(run_id=str(record["id"]), project=record.get("project"), entity=record.get("entity"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # absent or damaged: look further
            runs = (save_dir / "wandb").glob("*run-*/run-*.wandb")
            newest = max(runs, key=lambda file: file.stat().st_mtime, default=None)
            return cls(run_id=newest.stem.removeprefix("run-")) if newest else None

    def to_directory(self, save_dir: Path, url: str | None) -> None:
        """Write what :meth:`from_directory` reads, with the run's URL for people."""
        record = {"id": self.run_id, "project": self.project, "entity": self.entity, "url": url}
        (save_dir / RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

    def leave_next_step(self, run: Any) -> None:
        """Note for the launcher how far the worker's session has come; a launcher on another host finds nothing."""
        if self.files_dir and Path(self.files_dir).is_dir():
            Path(self.files_dir).with_name(REPLY_FILE).write_text(str(next_step_of(run)), encoding="utf-8")

    def after_training(self) -> Handoff:
        """Return the record as the worker left it: the step that it has reached, and when it closed the run."""
        try:
            file = Path(self.files_dir or "").with_name(REPLY_FILE)
            reached, closed_at = int(file.read_text(encoding="utf-8")), file.stat().st_mtime
        except (OSError, ValueError):  # it ran on another host, or was killed
            reached, closed_at = 0, time.time()
        return replace(self, next_step=max(reached, self.next_step), closed_at=closed_at)


def is_closed(run: Any) -> bool:
    """Return whether a ``wandb.Run`` was finished in this process."""
    return bool(getattr(run, "_is_finished", False))


def next_step_of(run: Any) -> int:
    """Return the step of the next row; 0 for a finished run and for a shared one, which has no counter of its own."""
    if is_closed(run):
        return 0  # W&B would wait 30 s for an answer
    try:
        return int(max(run.step, run.starting_step))  # run.step reads 0 right after a resume
    except Exception:  # noqa: BLE001  # the kind differs between W&B releases
        return 0


def _read_record(text: str) -> dict[str, Any]:
    """Return the checked content of ``ULTRALYTICS_WB_DDP``; nothing when it is not set."""
    if not text:
        return {}
    remedy = f"it is written by WandbManager; unset it with 'unset {VARIABLE}' if it is left over from another job"
    try:
        record = json.loads(text)
    except ValueError:
        msg = f"{VARIABLE}={text!r} is not JSON; {remedy}"
        raise ConfigurationError(msg) from None
    if not isinstance(record, dict) or record.get("version") != VERSION:
        found = record.get("version") if isinstance(record, dict) else None
        msg = (
            f"{VARIABLE}={text!r} is of version {found!r}, this release reads version {VERSION}: launcher and workers "
            f"run different releases of ultralytics_wb_ddp; {remedy}"
        )
        raise ConfigurationError(msg)
    keys = record.get("config_keys", [])
    wrong = (
        f"state={record.get('state')!r}"
        if record.get("state") not in STATES
        else f"mode={record.get('mode')!r}"
        if record.get("mode") not in (None, *MODES)
        else f"next_step={record.get('next_step')!r}"
        if not isinstance(record.get("next_step", 0), int)
        else f"closed_at={record.get('closed_at')!r}"
        if not isinstance(record.get("closed_at", 0.0), (int, float, type(None)))
        else f"config_keys={keys!r}"
        if not isinstance(keys, list)
        else None
    )
    if wrong:
        msg = f"{VARIABLE} holds {wrong}, which no release writes; {remedy}"
        raise ConfigurationError(msg)
    return record
