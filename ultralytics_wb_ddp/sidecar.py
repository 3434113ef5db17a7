"""A process beside the one that logs: it holds the run's wandb-core and outlives its owner.

wandb-core goes down with the process that started it, and what it has not written or sent by then is lost: that
happens to a rank that is killed, or that torchrun terminates while it waits in a collective, where no Python code
runs any more. So it is started here. Whatever way the owner ends, the sidecar finishes the run with a true exit code.
It also lets the owner give up on W&B: a wandb-core that does not answer is killed with its sidecar, and one that
cannot send goes on alone while the owner leaves.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

__all__ = ["Guest", "Sidecar"]

POLL = 0.1  # seconds after which the death of the owner is noticed
START_TIMEOUT = 30.0  # seconds; importing wandb from a slow disk takes some


class Sidecar:
    """The owner's end of a sidecar.

    Attributes:
        token: What leads a process of this host to the sidecar's wandb-core, as the value of ``WANDB_SERVICE``.
        pid: Process id of the sidecar.
    """

    def __init__(self, finish_timeout: float) -> None:
        """Start one.

        Args:
            finish_timeout: Seconds that it may go on sending after its owner has ended.

        Raises:
            ConnectionError: It does not come up, within 30 s.
        """
        environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
        environment["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
        self._process = subprocess.Popen(  # noqa: S603  # this module itself
            [sys.executable, "-m", "ultralytics_wb_ddp.sidecar", str(finish_timeout)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # what ends the owner's process group must not end this
        )
        self.pid = self._process.pid
        assert self._process.stdout is not None  # noqa: S101  # asked for above
        ready, _, _ = select.select([self._process.stdout], [], [], START_TIMEOUT)
        self.token = self._process.stdout.readline().decode().strip() if ready else ""
        if not self.token:
            self.kill()
            msg = f"wandb-core could not be started within {START_TIMEOUT:.0f} s; does 'import wandb' work?"
            raise ConnectionError(msg)

    def tell(self, **facts: Any) -> None:
        """Tell it what it must know to finish the run: ``run_id``, ``exit_code``, ``preempting``, ``closing``, ..."""
        with contextlib.suppress(OSError):  # it was killed: nothing can be done for the run any more
            os.write(self._process.stdin.fileno(), json.dumps(facts).encode() + b"\n")  # type: ignore[union-attr]

    def dismiss(self, timeout: float) -> bool:
        """End it once everything is written and sent; returns whether that was the case in so many seconds."""
        self.tell(dismissed=True)
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """End it and its wandb-core at once."""
        self._process.kill()
        self._process.wait()


class Guest:
    """Stands in a sidecar's place where another process of this node holds it: the owner's, which ends it.

    Attributes:
        token: As of the sidecar.
        pid: This process: the sidecar is another one's.
    """

    def __init__(self, token: str) -> None:
        self.token = token
        self.pid = os.getpid()

    def tell(self, **facts: Any) -> None:
        """Do nothing: this process's end is not the run's."""

    def dismiss(self, timeout: float) -> bool:  # noqa: ARG002  # as of the sidecar
        """Leave it to its owner."""
        return True

    def kill(self) -> None:
        """Leave it to its owner."""


def _main() -> None:
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # a scheduler may send them to every process of a job
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    owner, finish_timeout = os.getppid(), float(sys.argv[1])
    import wandb

    wandb.setup().ensure_service()
    sys.stdout.write(os.environ["WANDB_SERVICE"] + "\n")
    sys.stdout.flush()
    facts = _listen(owner)
    # wandb-core goes with this process: that is the bound of what is sent after the owner's end.
    deadline = threading.Timer(finish_timeout, os._exit, [1])
    deadline.daemon = True
    deadline.start()
    if "run_id" in facts and not facts.get("closing"):
        _finish(facts)
    # The owner's own finish() may still be on its way: what ends the run here ends it with the same exit code.
    wandb.teardown(facts.get("exit_code", 1))
    if facts.get("closing") and not facts.get("dismissed"):
        _leave_word(facts, facts["next_step"])
    deadline.cancel()


def _listen(owner: int) -> dict[str, Any]:
    """Return all that the owner has told until it dismisses the sidecar or ends.

    Its end is seen by its pid: processes that it has forked hold the pipe open.
    """
    facts: dict[str, Any] = {}
    text = b""
    while os.getppid() == owner and not facts.get("dismissed"):
        if not select.select([sys.stdin.fileno()], [], [], POLL)[0]:
            continue
        data = os.read(sys.stdin.fileno(), 65536)
        if not data:
            break
        *lines, text = (text + data).split(b"\n")
        for line in lines:
            facts.update(json.loads(line))
    return facts


def _finish(facts: dict[str, Any]) -> None:
    """Finish the run in the owner's stead, and leave word of it to the launcher."""
    import wandb

    from ultralytics_wb_ddp.client import flush
    from ultralytics_wb_ddp.handoff import next_step_of

    with contextlib.suppress(Exception):
        run = wandb.attach(facts["run_id"])
        exit_code = facts.get("exit_code", 1)
        if facts.get("preempting"):
            run.mark_preempting()
        flush(run)
        next_step = next_step_of(run)
        run.finish(exit_code=exit_code)
        _leave_word(facts, next_step)


def _leave_word(facts: dict[str, Any], next_step: int) -> None:
    """Say how the session has ended, in the place of the owner."""
    from ultralytics_wb_ddp.handoff import leave_word

    if facts.get("word"):
        leave_word(Path(facts["word"]), next_step=next_step, exit_code=facts.get("exit_code", 1))


if __name__ == "__main__":
    _main()
