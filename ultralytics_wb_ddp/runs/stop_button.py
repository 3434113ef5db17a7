"""End a training gracefully when W&B's Stop button is pressed."""

from __future__ import annotations

import signal
import threading
from typing import Any

from ultralytics_wb_ddp.distributed.processes import find_torchrun_children
from ultralytics_wb_ddp.utils.logging import logger
from ultralytics_wb_ddp.wandb_client.internals import request_stop_status, set_stop_function

STOP_ANSWER_TIMEOUT = 1.0  # seconds that wandb-core may take to answer
training_started = threading.Event()  # set once this process has begun or launched a training
# Ids of the callbacks in this process whose training is running. They query the button themselves.
active_training_ids: set[int] = set()


class StopButton:
    """The state of a run's Stop button, queried from wandb-core.

    Before wandb 0.31, wandb-core asks the server for each query. If the answer does not arrive in time, the next call
    reads it.
    """

    def __init__(self) -> None:
        self._question: Any = None

    def is_pressed(self, run: Any) -> bool:
        """Return whether the button of this run is known to be pressed."""
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
    """Handle a press of the Stop button instead of W&B.

    W&B would interrupt this process, and the workers would continue as orphans.

    The client learns of the button up to 15 s late. The training may have stopped by then. The code after the training
    is not interrupted.
    """
    if not training_started.is_set():
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    elif active_training_ids or find_torchrun_children():
        logger.warning("W&B asks to stop: the training ends after this epoch")
    else:
        logger.warning("W&B asks to stop: the training is over, the script goes on")


def install_stop_handler(run: Any) -> None:
    """Make the user's run call :func:`handle_stop_request`.

    Runs opened with ``settings={"stop_fn": handle_stop_request}`` do not need this.

    Args:
        run: The ``wandb.Run``.
    """
    set_stop_function(run, handle_stop_request)
