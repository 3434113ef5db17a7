"""Run one trial of a sweep in a process of its own.

Each trial needs a process of its own to launch several GPUs: signals reach the main thread, W&B starts without state,
and the GPU memory is free after the trial.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

from ultralytics_wb_ddp.distributed.signals import on_termination
from ultralytics_wb_ddp.utils.errors import exit_code_of
from ultralytics_wb_ddp.utils.logging import logger

FINISH_TIMEOUT = 10.0  # seconds for a service process to finish a run


def read_parameters(file: Path) -> dict[str, Any]:
    """Read a trial's parameters from a file of W&B's agents."""
    import yaml

    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    return {name: entry["value"] for name, entry in content.items() if name != "wandb_version"}


def run_trial_process(work: bytes) -> NoReturn:
    """Call the function of a trial, finish the trial's runs, and end this process.

    Args:
        work: Function of the trial, pickled by cloudpickle. It takes the trial's parameters.
    """
    import cloudpickle

    on_termination(_preempt)
    error: BaseException | None = None
    try:
        cloudpickle.loads(work)(read_parameters(Path(os.environ["WANDB_SWEEP_PARAM_PATH"])))
    except BaseException as caught:  # noqa: BLE001  # Ctrl-C and SystemExit have an exit code, too
        error = caught
    exit_code = exit_code_of(error)
    try:
        _finish_open_runs(exit_code, error)
    finally:
        sys.exit(exit_code)


def _finish_open_runs(exit_code: int, error: BaseException | None) -> None:
    """Finish the open runs of the trial.

    A trial that failed before its run was opened gets a failed run. The error is printed while a run is open, so that
    the console log of the run has the error.
    """
    from ultralytics_wb_ddp.config.options import RunOptions
    from ultralytics_wb_ddp.runs.lifecycle import finish_run, init_run
    from ultralytics_wb_ddp.runs.open_runs import registry
    from ultralytics_wb_ddp.wandb_client.run_state import wandb_run

    unfinished_runs = [open_run.run for open_run in registry.opened.values()]
    if (active := wandb_run()) is not None and active not in unfinished_runs:
        unfinished_runs.append(active)
    if unfinished_runs:
        _print(error)
    for run in unfinished_runs:
        with contextlib.suppress(ConnectionError):  # the interruption came while the run was being opened
            finish_run(run, exit_code)
    failed_run = None
    if exit_code and not _run_has_ended():
        failed_run = init_run(RunOptions(), run_id=os.environ["WANDB_RUN_ID"], resume="allow")
    if not unfinished_runs:
        _print(error)
    if failed_run:
        finish_run(failed_run, exit_code)


def _print(error: BaseException | None) -> None:
    if isinstance(error, SystemExit):
        if isinstance(error.code, str):
            sys.stderr.write(f"{error.code}\n")
    elif error:
        traceback.print_exception(error)


def _run_has_ended() -> bool:
    """Return whether the trial's run has ended at W&B.

    If a worker opened the run, its service process may still finish the run, so this function waits. A run whose
    opening was interrupted is not finished by any process.
    """
    import wandb

    path = "/".join(os.environ[name] for name in ("WANDB_ENTITY", "WANDB_PROJECT", "WANDB_RUN_ID"))
    deadline = time.monotonic() + FINISH_TIMEOUT
    try:
        while (state := str(wandb.Api().run(path).state)) == "running" and time.monotonic() < deadline:
            time.sleep(FINISH_TIMEOUT / 10)
    except Exception as error:  # noqa: BLE001  # the class differs between releases
        if "could not find" in str(error).lower():
            return False
        logger.warning("it is not known whether run %s has an end: %s", path, error)
        return True  # without W&B, no process can finish the run
    return state not in {"running", "pending"}


def _preempt() -> None:
    from ultralytics_wb_ddp.runs.open_runs import is_ours, registry
    from ultralytics_wb_ddp.runs.preemption import preempt_runs
    from ultralytics_wb_ddp.wandb_client.run_state import wandb_run

    run = wandb_run()
    if run is not None and not is_ours(run):
        registry.add_user_run(run)
    preempt_runs()
