"""The Stop button of W&B: it is to end a training gracefully, not to interrupt whoever holds the run."""

from __future__ import annotations

import signal
import threading
from typing import Any

from ultralytics_wb_ddp.distributed.processes import find_torchrun_children
from ultralytics_wb_ddp.utils.logging import logger
from ultralytics_wb_ddp.wandb_client.internals import request_stop_status, set_stop_function

STOP_ANSWER_TIMEOUT = 1.0  # seconds that wandb-core gets to answer
training_started = threading.Event()  # whether this process has begun or launched a training
active_training_ids: set[int] = (
    set()
)  # callbacks of this process whose training is going on: they look at the button themselves


class StopButton:
    """Whether somebody has pressed Stop: asks a run's wandb-core, which hears it from the server.

    Before wandb 0.31 it asks the server each time. Where that does not answer at once, the answer is looked for when
    the next question would be due.
    """

    def __init__(self) -> None:
        self._question: Any = None

    def is_pressed(self, run: Any) -> bool:
        """Return whether the button of this run was pressed, as far as is known."""
        if run.offline:
            return False
        timeout = 0.0
        if self._question is None:
            timeout = STOP_ANSWER_TIMEOUT
            self._question = request_stop_status(run)
        try:
            answer = self._question.wait_or(timeout=timeout)
        except TimeoutError:
            return False
        except Exception:
            self._question = None
            raise
        self._question = None
        return bool(answer.response.stop_status_response.run_should_stop)


def handle_stop_request() -> None:
    """Take the place of W&B's own reaction, to interrupt this process, which leaves the workers behind as orphans.

    The client hears of the button up to 15 s late. The training that it was meant for may be over by then, and has
    stopped for it: what comes after the training is not interrupted.
    """
    if not training_started.is_set():
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    elif active_training_ids or find_torchrun_children():
        logger.warning("W&B asks to stop: the training ends after this epoch")
    else:
        logger.warning("W&B asks to stop: the training is over, the script goes on")


def install_stop_handler(run: Any) -> None:
    """Have a run that the user has opened call :func:`on_stop`.

    Runs that are opened with ``settings={"stop_fn": on_stop}`` need none of this.
    """
    set_stop_function(run, handle_stop_request)
