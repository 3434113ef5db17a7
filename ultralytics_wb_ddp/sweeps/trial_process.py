"""The process of one trial: ``python -m ultralytics_wb_ddp.sweeps.trial_process``, with its work on stdin.

A process of its own is what a launch of several GPUs needs: signals reach its main thread, W&B begins afresh, and the
GPUs' memory is free when it has ended.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from ultralytics_wb_ddp.distributed.signals import on_termination
from ultralytics_wb_ddp.utils.errors import exit_code_of
from ultralytics_wb_ddp.utils.logging import logger

FINISH_TIMEOUT = 10.0  # seconds that a run takes to be finished by others


def read_parameters(file: Path) -> dict[str, Any]:
    """Return a trial's parameters as W&B's agents write them down."""
    import yaml

    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    return {name: entry["value"] for name, entry in content.items() if name != "wandb_version"}


def _main() -> None:
    import cloudpickle

    work = sys.stdin.buffer.read()
    sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115  # for as long as the process lives
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
    """Finish what the work has left open, and have a trial that failed before it had a run be seen.

    What went wrong is printed while there is a run whose log takes it.
    """
    from ultralytics_wb_ddp.config.options import RunOptions
    from ultralytics_wb_ddp.runs.lifecycle import finish_run, init_run
    from ultralytics_wb_ddp.runs.open_runs import open_runs
    from ultralytics_wb_ddp.wandb_client.run_state import wandb_run

    left = [held.run for held in open_runs.values()]
    if (active := wandb_run()) is not None and active not in left:
        left.append(active)
    if left:
        _print(error)
    for run in left:
        with contextlib.suppress(ConnectionError):  # it was being opened when this process was interrupted
            finish_run(run, exit_code)
    made = None
    if exit_code and not _run_has_ended():
        made = init_run(RunOptions(), run_id=os.environ["WANDB_RUN_ID"], resume="allow")
    if not left:
        _print(error)
    if made:
        finish_run(made, exit_code)


def _print(error: BaseException | None) -> None:
    """Print what went wrong, as Python does it for an error that nobody has caught."""
    if isinstance(error, SystemExit):
        if isinstance(error.code, str):
            sys.stderr.write(f"{error.code}\n")
    elif error:
        traceback.print_exception(error)


def _run_has_ended() -> bool:
    """Return whether the trial's run has an end, as far as W&B knows.

    Where a worker had it, the process beside it may still be about to finish it. Where it was being opened when this
    process was interrupted, nobody is.
    """
    import wandb

    path = "/".join(os.environ[name] for name in ("WANDB_ENTITY", "WANDB_PROJECT", "WANDB_RUN_ID"))
    deadline = time.monotonic() + FINISH_TIMEOUT
    try:
        while (state := str(wandb.Api().run(path).state)) == "running" and time.monotonic() < deadline:
            time.sleep(FINISH_TIMEOUT / 10)
    except Exception as error:  # noqa: BLE001  # its kind differs between releases
        if "could not find" in str(error).lower():
            return False
        logger.warning("it is not known whether run %s has an end: %s", path, error)
        return True  # W&B is away: nothing could be said to the run
    return state not in {"running", "pending"}


def _preempt() -> None:
    """Finish the run that the work has made itself, also before its training has begun."""
    from ultralytics_wb_ddp.runs.open_runs import is_ours, user_runs
    from ultralytics_wb_ddp.runs.preemption import preempt_runs
    from ultralytics_wb_ddp.wandb_client.run_state import wandb_run

    run = wandb_run()
    if run is not None and not is_ours(run):
        user_runs[run.id] = run
    preempt_runs()


if __name__ == "__main__":
    _main()
