"""Read the state of a ``wandb.Run`` and build its sync command."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any


def is_closed(run: Any) -> bool:
    """Return whether a ``wandb.Run`` was finished in this process."""
    return bool(getattr(run, "_is_finished", False))


def is_shared(run: Any) -> bool:
    """Return whether a ``wandb.Run`` is in W&B's shared mode."""
    return getattr(run.settings, "mode", "") == "shared"


def get_next_step(run: Any) -> int:
    """Return the step of the next row.

    It is 0 for a finished run and for a shared one, which has no counter of its own.
    """
    if is_closed(run):
        return 0  # wandb would wait 30 s for an answer
    try:
        return int(max(run.step, run.starting_step))  # run.step reads 0 right after a resume
    except Exception:  # noqa: BLE001  # the type differs between W&B releases
        return 0


def wandb_run() -> Any:
    """Return ``wandb.run`` if it is open, without importing wandb."""
    run = getattr(sys.modules.get("wandb"), "run", None)
    return None if run is None or is_closed(run) else run


def run_url(run: Any) -> str | None:
    """Return a run's web address; None offline, where wandb would warn."""
    return None if run.offline else run.url


def get_config(run: Any) -> dict[str, Any]:
    """Return a run's config, which is no mapping, as a dictionary."""
    return {key: run.config[key] for key in run.config.keys()}  # noqa: SIM118


def get_run_dir(run: Any) -> Path:
    """Return the folder of a run's unsent data: ``run-...`` or ``offline-run-...``."""
    return Path(run.dir).parent


def run_dir_in_command(command: str) -> Path:
    """Return the folder from a :func:`sync_command` for one folder."""
    named = command.partition(" sync ")[2]
    return Path(shlex.split(named)[0] if named.startswith("'") else named)


def is_online_run_dir(folder: Path) -> bool:
    """Return whether a folder of W&B belongs to an online session.

    Such a session has sent its rows itself, as far as it came.
    """
    return not folder.name.startswith("offline-")


def sync_command(*folders: Path | str) -> str:
    """Return the command that sends runs on disk. The parts of one run are sent in this order."""
    return f"ultralytics-wb-ddp sync {' '.join(shlex.quote(str(folder)) for folder in folders)}"


def get_summary(summary: Any) -> dict[str, Any]:
    """Return a W&B summary, which is no mapping, as nested dictionaries."""
    values = {key: summary[key] for key in summary.keys()}  # noqa: SIM118
    return {key: get_summary(value) if hasattr(value, "keys") else value for key, value in values.items()}
