"""Send what the earlier sessions of a run left on this disk, before the run is continued."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from ultralytics_wb_ddp.runs.journal import find_sessions
from ultralytics_wb_ddp.utils.logging import logger
from ultralytics_wb_ddp.wandb_client.child_process import child_environment
from ultralytics_wb_ddp.wandb_client.run_state import sync_command

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


SEND_TIMEOUT = 90.0  # seconds that a training or a job waits for the data of earlier sessions to be sent


def send_unsent_sessions(places: Iterable[Path], run_id: str) -> None:
    """Send data of a run that W&B may lack. A message names the command if it cannot be sent now.

    The order of the rows at W&B is then that of logging, and the next session begins after all of them.

    Args:
        places: Directories whose journals lead to the run's sessions.
        run_id: Id of the run.
    """
    sessions = [session for session in find_sessions(places) if session.id == run_id]
    unsent = [session for session in sessions if session.may_be_unsent]
    if not unsent or any(session.live_pid for session in sessions):
        return
    folder = unsent[-1].folder
    logger.info("run %s: sending what its earlier sessions left in %s", run_id, folder)
    if reason := send_session(folder):
        msg = "run %s: W&B has not got all of its earlier sessions (%s); send the rest when the run is over with: %s"
        logger.warning(msg, run_id, reason, sync_command(folder))


def send_session(folder: Path, timeout: float | None = SEND_TIMEOUT) -> str:
    """Send what W&B lacks of a run, in a process of its own.

    Args:
        folder: W&B's folder of one of the run's sessions.
        timeout: Seconds to wait; None waits without a limit.

    Returns:
        The reason for which data is missing at W&B; empty if nothing is missing.
    """
    command = [sys.executable, "-m", "ultralytics_wb_ddp.cli", "sync", str(folder)]
    try:
        done = subprocess.run(  # noqa: S603  # this package's own command
            command,
            check=False,
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        return f"it takes longer than {timeout:g} s"
    output = done.stderr.strip().splitlines()
    if not done.returncode:
        return ""
    return output[-1].removeprefix("Error: ") if output else f"exit code {done.returncode}"
