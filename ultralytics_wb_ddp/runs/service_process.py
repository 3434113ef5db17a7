"""A process beside the one that logs: it holds the run's wandb-core and outlives its owner.

wandb-core goes down with the process that started it, and what it has not written or sent by then is lost: that
happens to a rank that is killed, or that torchrun terminates while it waits in a collective, where no Python code
runs any more. So it is started here. Whatever way the owner ends, the sidecar finishes the run with a true exit code.
It is nobody's child: Ray, for one, kills the children of a worker together with it.
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
import time
from pathlib import Path
from typing import Any, ClassVar

import psutil

OWNER_POLL_INTERVAL = 0.1  # seconds after which the death of the owner is noticed
END_POLL_INTERVAL = 0.02  # seconds between two looks at a sidecar that is ending
START_TIMEOUT = 30.0  # seconds; importing wandb from a slow disk takes some


class ServiceProcess:
    """The owner's end of a sidecar.

    It is started, and what it needs is loaded, while its owner does other things.

    Args:
        finish_timeout: Seconds that it may go on sending after its owner has ended.

    Attributes:
        token: What leads a process of this host to the sidecar's wandb-core, as the value of ``WANDB_SERVICE``.
        pid: Process id of the sidecar.
    """

    _prestarted: ClassVar[dict[float, ServiceProcess]] = {}  # started for whoever needs one

    @classmethod
    def prestart(cls, finish_timeout: float) -> None:
        """Start one for the next who asks for one, unless there is one; if nobody does, it ends with this process."""
        if finish_timeout in cls._prestarted:  # of a training that has failed before it began
            return
        with contextlib.suppress(OSError):  # whoever asks tries once more, and hears of it
            cls._prestarted[finish_timeout] = cls(finish_timeout)

    @classmethod
    def get(cls, finish_timeout: float) -> ServiceProcess:
        """Return one that is ready.

        Raises:
            ConnectionError: It does not come up, within 30 s.
        """
        sidecar = cls._prestarted.pop(finish_timeout, None) or cls(finish_timeout)
        sidecar.wait_until_ready()
        return sidecar

    def __init__(self, finish_timeout: float) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
        environment["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
        self._start = subprocess.Popen(  # noqa: S603  # this module itself
            [sys.executable, "-m", "ultralytics_wb_ddp.runs.service_process", str(finish_timeout), str(os.getpid())],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,  # what ends the owner's process group must not end this
        )
        self.pid, self.token = 0, ""

    def wait_until_ready(self) -> None:
        """Wait until its wandb-core is there.

        Raises:
            ConnectionError: It does not come up, within 30 s.
        """
        with contextlib.suppress(ValueError, psutil.Error):
            self._process = psutil.Process(int(self._read_line()))
            self.pid = self._process.pid
            self.token = self._read_line()
        if not self.token:
            self._start.kill()
            self._start.wait()
            if self.pid:
                self.kill()
            msg = f"wandb-core could not be started within {START_TIMEOUT:.0f} s; does 'import wandb' work?"
            raise ConnectionError(msg)
        self._start.wait()

    def _read_line(self) -> str:
        """Return what it says next; nothing if it says nothing in time."""
        assert self._start.stdout is not None  # noqa: S101  # asked for above
        ready, _, _ = select.select([self._start.stdout], [], [], START_TIMEOUT)
        return self._start.stdout.readline().decode().strip() if ready else ""

    def send(self, **facts: Any) -> None:
        """Tell it what it must know to finish the run: ``run_id``, ``exit_code``, ``preempting``, ``closing``, ..."""
        with contextlib.suppress(OSError):  # it was killed: nothing can be done for the run any more
            os.write(self._start.stdin.fileno(), json.dumps(facts).encode() + b"\n")  # type: ignore[union-attr]

    def shut_down(self, timeout: float) -> bool:
        """End it once everything is written and sent; returns whether that was the case in so many seconds."""
        self.send(dismissed=True)
        return self.wait(timeout)

    def finish_run_now(self) -> None:
        """Have it finish the run now, as after the owner's end."""
        self.send(taken_over=True)

    def wait(self, timeout: float) -> bool:
        """Wait for its end; returns whether that came within so many seconds."""
        deadline = time.monotonic() + timeout
        while is_alive := _is_alive(self._process):
            if time.monotonic() > deadline:
                break
            time.sleep(END_POLL_INTERVAL)
        return not is_alive

    def kill(self) -> None:
        """End it and its wandb-core at once."""
        with contextlib.suppress(psutil.Error):
            self._process.kill()
        while _is_alive(self._process):
            time.sleep(END_POLL_INTERVAL)


class BorrowedServiceProcess:
    """Stands in a sidecar's place where another process of this node holds it: the owner's, which ends it.

    Attributes:
        token: As of the sidecar.
        pid: This process: the sidecar is another one's.
    """

    def __init__(self, token: str) -> None:
        self.token = token
        self.pid = os.getpid()

    def send(self, **facts: Any) -> None:
        """Do nothing: this process's end is not the run's."""

    def shut_down(self, timeout: float) -> bool:  # noqa: ARG002  # as of the sidecar
        """Leave it to its owner."""
        return True

    def finish_run_now(self) -> None:
        """Do nothing: the run goes on in its owner."""

    def wait(self, timeout: float) -> bool:  # noqa: ARG002  # as of the sidecar
        """Leave it to its owner."""
        return True

    def kill(self) -> None:
        """Leave it to its owner."""


def _is_alive(process: psutil.Process) -> bool:
    """Return whether a process still runs; one that has ended may stay as a zombie, if nobody reaps it."""
    with contextlib.suppress(ChildProcessError):  # the first process of a container gets every orphan as a child
        os.waitpid(process.pid, os.WNOHANG)
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _main() -> None:
    pid = os.fork()
    if pid:  # only this one is the owner's child
        os.write(sys.stdout.fileno(), f"{pid}\n".encode())
        os._exit(0)
    finish_timeout = float(sys.argv[1])
    try:
        owner = psutil.Process(int(sys.argv[2]))
    except psutil.Error:  # it has ended already
        return
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # a scheduler may send them to every process of a job
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    import wandb

    wandb.setup().ensure_service()
    sys.stdout.write(os.environ["WANDB_SERVICE"] + "\n")
    sys.stdout.flush()
    facts = _read_owner(owner)
    # wandb-core goes with this process: that is the bound of what is sent after the owner's end.
    deadline = threading.Timer(finish_timeout, os._exit, [1])
    deadline.daemon = True
    deadline.start()
    if "run_id" in facts and not facts.get("closing"):
        _finish_orphaned_run(facts)
    # The owner's own finish() may still be on its way: what ends the run here ends it with the same exit code.
    wandb.teardown(facts.get("exit_code", 1))
    if facts.get("closing") and not facts.get("dismissed"):
        _write_handback(facts, facts["next_step"])
    os._exit(0)  # the owner waits: nothing is left to be tidied up


def _read_owner(owner: psutil.Process) -> dict[str, Any]:
    """Return all that the owner has told until it dismisses the sidecar, has it take over or ends.

    Its end is seen by its pid: processes that it has forked hold the pipe open.
    """
    facts: dict[str, Any] = {}
    text = b""
    while _is_alive(owner) and not facts.get("dismissed") and not facts.get("taken_over"):
        if not select.select([sys.stdin.fileno()], [], [], OWNER_POLL_INTERVAL)[0]:
            continue
        data = os.read(sys.stdin.fileno(), 65536)
        if not data:
            break
        *lines, text = (text + data).split(b"\n")
        for line in lines:
            facts.update(json.loads(line))
    return facts


def _finish_orphaned_run(facts: dict[str, Any]) -> None:
    """Finish the run in the owner's stead, and leave word of it to the launcher."""
    import wandb

    from ultralytics_wb_ddp.wandb_client.internals import flush
    from ultralytics_wb_ddp.wandb_client.run_state import get_next_step

    with contextlib.suppress(Exception):
        run = wandb.attach(facts["run_id"])
        exit_code = facts.get("exit_code", 1)
        if facts.get("preempting"):
            run.mark_preempting()
        flush(run)
        next_step = get_next_step(run)
        run.finish(exit_code=exit_code)
        _write_handback(facts, next_step)


def _write_handback(facts: dict[str, Any], next_step: int) -> None:
    """Say how the session has ended, in the place of the owner."""
    from ultralytics_wb_ddp.runs.handoff import write_handback

    if facts.get("word"):
        write_handback(Path(facts["word"]), next_step=next_step, exit_code=facts.get("exit_code", 1))


if __name__ == "__main__":
    _main()
