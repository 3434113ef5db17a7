"""A trial of a sweep as its own processes see it: which sweep, with which parameters, whether it is to stop.

W&B's agents name it by ``WANDB_SWEEP_ID``, ``WANDB_RUN_ID`` and ``WANDB_SWEEP_PARAM_PATH``, which workers inherit.
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
    """Return the id of the sweep that this process works for, as a trial or a worker of one; None outside of sweeps."""
    return os.environ.get("WANDB_SWEEP_ID") or None


def is_trial() -> bool:
    """Return whether an agent has started this process, or one that has started it."""
    return all(os.environ.get(name) for name in (*VARIABLES, "WANDB_RUN_ID"))


def is_trial_run(run_id: str | None) -> bool:
    """Return whether a run is the one that the sweep knows this trial by."""
    return get_wandb_sweep_id() is not None and run_id == os.environ.get("WANDB_RUN_ID")


@contextmanager
def hide_sweep_variables(run_id: str) -> Iterator[None]:
    """Let ``wandb.init`` open a run that is not the trial's: in a sweep it takes the trial's, whatever id is asked for.

    Such runs are those of ranks in ``run_mode="new"``.
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
    """Return whether the agent has asked this trial to stop, in the process on the agent's machine that logs."""
    parameters = os.environ.get("WANDB_SWEEP_PARAM_PATH")
    return stop_request_file(Path(parameters)).exists() if parameters else False
