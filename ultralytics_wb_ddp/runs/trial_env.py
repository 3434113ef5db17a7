"""Read a sweep trial's environment: sweep, run, parameters, request to stop.

W&B's agents set ``WANDB_SWEEP_ID``, ``WANDB_RUN_ID`` and ``WANDB_SWEEP_PARAM_PATH``. Workers inherit the variables.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


VARIABLES = ("WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH")


def get_wandb_sweep_id() -> str | None:
    """Return the id of the trial's sweep. None outside of sweeps."""
    return os.environ.get("WANDB_SWEEP_ID") or None


def is_trial() -> bool:
    """Return whether this process belongs to a trial that an agent started."""
    return all(os.environ.get(name) for name in (*VARIABLES, "WANDB_RUN_ID"))


def is_trial_run(run_id: str | None) -> bool:
    """Return whether a run is the run of this process's trial."""
    return get_wandb_sweep_id() is not None and run_id == os.environ.get("WANDB_RUN_ID")


@contextmanager
def hide_sweep_variables(run_id: str) -> Iterator[None]:
    """Hide the sweep's variables from ``wandb.init`` for other runs.

    In a sweep ``wandb.init`` always opens the trial's run and ignores its ``id``. Ranks in ``run_mode="new"`` have
    other runs.

    Args:
        run_id: Id of the run to open. For the trial's run no variable is hidden.
    """
    hidden = {} if is_trial_run(run_id) else {name: os.environ.pop(name, None) for name in VARIABLES}
    try:
        yield
    finally:
        os.environ.update({name: value for name, value in hidden.items() if value is not None})


def stop_request_file(parameters: Path) -> Path:
    """Return the file by which an agent asks a trial to stop.

    Args:
        parameters: The file with the trial's parameters.
    """
    return parameters.with_suffix(".stop")


def stop_requested() -> bool:
    """Return whether the agent asked this trial to stop.

    Only a process on the agent's machine sees the request.
    """
    parameters = os.environ.get("WANDB_SWEEP_PARAM_PATH")
    return stop_request_file(Path(parameters)).exists() if parameters else False
