"""Hold a run's wandb-core in a process that survives its owner.

The owner is the process that logs. wandb-core ends with the process that started it, and loses the records that it has
not written or sent. This happens to a rank that is killed. It also happens to a rank that torchrun terminates during a
collective, where no Python code runs any more. Therefore the service process starts wandb-core. When the owner ends in
any way, the service process finishes the run with the true exit code. The service process is not a child of the owner,
because Ray, for example, kills the children of a worker with the worker.

An owner may close its run for the workers. Until one of them takes it up, W&B shows the run as finished. A service
process that no run uses yet watches it: if the owner ends first, the service process finishes the run with the true
exit code.

The owner can also give up on W&B. If wandb-core does not answer, the owner kills it with its service process. If
wandb-core cannot send, it continues alone after the owner has ended.
"""

from __future__ import annotations

import atexit
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
from typing import TYPE_CHECKING, Any, ClassVar

import psutil

from ultralytics_wb_ddp.utils.errors import exit_code_of
from ultralytics_wb_ddp.wandb_client.child_process import start_module

if TYPE_CHECKING:
    from ultralytics_wb_ddp.runs.handoff import Handoff

OWNER_POLL_INTERVAL = 0.1  # seconds after which the death of the owner is noticed
END_POLL_INTERVAL = 0.02  # seconds between two checks of a service process that is ending
START_TIMEOUT = 30.0  # seconds; importing wandb from a slow disk takes some


class ServiceProcess:
    """The owner's handle of a service process.

    The constructor does not wait: the service process starts and imports wandb while the owner does other work.

    Args:
        finish_timeout: Seconds that the service process may continue to send after its owner has ended.

    Attributes:
        token: Address of the service process's wandb-core on this host, as a value of ``WANDB_SERVICE``.
        pid: Process id of the service process.
        watched_run_id: Id of the closed run that it watches; empty without one.
    """

    _prestarted: ClassVar[dict[float, ServiceProcess]] = {}  # ready for the next call of get()

    @classmethod
    def prestart(cls, finish_timeout: float) -> None:
        """Start a service process for the next call of :meth:`get`.

        An unused service process ends with this process.

        Args:
            finish_timeout: As for the class.
        """
        if finish_timeout in cls._prestarted:  # left by a training that failed before it began
            return
        with contextlib.suppress(OSError):  # get() tries again and raises the error
            cls._prestarted[finish_timeout] = cls(finish_timeout)

    @classmethod
    def watch_closed_run(cls, finish_timeout: float, handoff: Handoff) -> None:
        """Watch a run that was closed for the workers, until :meth:`get` or :meth:`stop_watching`.

        Args:
            finish_timeout: As for the class.
            handoff: The closed run.
        """
        cls.prestart(finish_timeout)
        if watcher := cls._prestarted.get(finish_timeout):
            watcher.watched_run_id = handoff.run_id
            folder = handoff.launcher_dir
            watcher.send(
                closed_run={
                    **handoff.run_options(),
                    "id": handoff.run_id,
                    "dir": str(folder.parent.parent) if folder else None,
                },
                closed_at=handoff.closed_at,
                handback_file=str(handoff.handback_file or ""),
            )
            atexit.register(_stop_watching_at_exit)

    @classmethod
    def watchers(cls) -> list[ServiceProcess]:
        """Return the service processes that watch a closed run."""
        return [each for each in cls._prestarted.values() if each.watched_run_id]

    @classmethod
    def stop_watching(cls, run_id: str) -> None:
        """Stop to watch a closed run.

        Args:
            run_id: Id of the run.
        """
        for watcher in cls.watchers():
            if watcher.watched_run_id == run_id:
                watcher.unwatch()

    @classmethod
    def get(cls, finish_timeout: float) -> ServiceProcess:
        """Return a service process that is ready.

        Args:
            finish_timeout: As for the class.

        Raises:
            ConnectionError: Its wandb-core did not start within 30 s.
        """
        service_process = cls._prestarted.pop(finish_timeout, None) or cls(finish_timeout)
        service_process.wait_until_ready()
        service_process.unwatch()
        return service_process

    def __init__(self, finish_timeout: float) -> None:
        self._start = start_module(
            "ultralytics_wb_ddp.runs.service_process",
            str(finish_timeout),
            str(os.getpid()),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        self.pid, self.token = 0, ""
        self.watched_run_id = ""

    def unwatch(self) -> None:
        """Stop to watch the closed run."""
        if self.watched_run_id:
            self.watched_run_id = ""
            self.send(closed_run=None, handback_file=None)

    def wait_until_ready(self) -> None:
        """Wait until wandb-core has started.

        Raises:
            ConnectionError: wandb-core did not start within 30 s.
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
        """Return the next line of output, or an empty string after 30 s."""
        assert self._start.stdout is not None  # noqa: S101  # a pipe was requested in Popen
        ready, _, _ = select.select([self._start.stdout], [], [], START_TIMEOUT)
        return self._start.stdout.readline().decode().strip() if ready else ""

    @property
    def has_core(self) -> bool:
        """Whether the service process and its wandb-core run."""
        return _is_alive(self._process) and _has_core(self._process)

    def send(self, **values: Any) -> None:
        """Send values that the service process needs to finish the run.

        Args:
            **values: ``run_id``, ``exit_code``, ``preempting``, ``closing`` and the like.
        """
        with contextlib.suppress(OSError):  # it was killed, so it cannot finish the run any more
            os.write(self._start.stdin.fileno(), json.dumps(values).encode() + b"\n")  # type: ignore[union-attr]

    def shut_down(self, timeout: float) -> bool:
        """End the service process once all records are written and sent.

        Args:
            timeout: Seconds to wait.

        Returns:
            Whether it ended in time.
        """
        self.send(dismissed=True)
        return self.wait(timeout)

    def finish_run_now(self) -> None:
        """Finish the run in the service process, as after the owner's end."""
        self.send(taken_over=True)

    def wait(self, timeout: float) -> bool:
        """Wait for the end of the service process.

        Args:
            timeout: Seconds to wait.

        Returns:
            Whether it ended in time.
        """
        deadline = time.monotonic() + timeout
        while is_alive := _is_alive(self._process):
            if time.monotonic() > deadline:
                break
            time.sleep(END_POLL_INTERVAL)
        return not is_alive

    def kill(self) -> None:
        """Kill the service process and its wandb-core."""
        with contextlib.suppress(psutil.Error):
            self._process.kill()
        while _is_alive(self._process):
            time.sleep(END_POLL_INTERVAL)


def _stop_watching_at_exit() -> None:
    """Leave closed runs to another process, unless an exception ends this one."""
    error = getattr(sys, "last_value", None)
    for watcher in ServiceProcess.watchers():
        if error is None:
            watcher.unwatch()
        else:
            watcher.send(exit_code=exit_code_of(error))


class BorrowedServiceProcess:
    """A service process that another process of this node owns and ends.

    Attributes:
        token: As for :class:`ServiceProcess`.
        pid: Id of this process, because the service process belongs to another one.
        has_core: True, because the owner looks after its wandb-core.
    """

    def __init__(self, token: str) -> None:
        self.token = token
        self.pid = os.getpid()
        self.has_core = True

    def send(self, **values: Any) -> None:
        """Do nothing, because the run does not end with this process."""

    def shut_down(self, timeout: float) -> bool:  # noqa: ARG002  # the signature of ServiceProcess
        """Leave the service process to its owner."""
        return True

    def finish_run_now(self) -> None:
        """Do nothing, because the run continues in its owner."""

    def wait(self, timeout: float) -> bool:  # noqa: ARG002  # the signature of ServiceProcess
        """Leave the service process to its owner."""
        return True

    def kill(self) -> None:
        """Leave the service process to its owner."""


def _has_core(process: psutil.Process) -> bool:
    """Return whether a service process has a wandb-core that runs."""
    with contextlib.suppress(psutil.Error):
        children = process.children(recursive=True)
        return any("wandb-core" in child.name() and child.status() != psutil.STATUS_ZOMBIE for child in children)
    return False


def _is_alive(process: psutil.Process) -> bool:
    """Return whether a process still runs. A zombie does not."""
    with contextlib.suppress(ChildProcessError):  # the first process of a container gets every orphan as a child
        os.waitpid(process.pid, os.WNOHANG)
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _main() -> None:
    pid = os.fork()
    if pid:  # the owner's child exits, and the fork continues without a parent
        os.write(sys.stdout.fileno(), f"{pid}\n".encode())
        os._exit(0)
    finish_timeout = float(sys.argv[1])
    try:
        owner, values = psutil.Process(int(sys.argv[2])), {}
    except psutil.Error:  # the owner has ended already
        owner, values = None, _read_owner(None)
        if not values.get("closed_run"):
            return
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # a scheduler may send them to every process of a job
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    import wandb

    wandb.setup().ensure_service()
    with contextlib.suppress(OSError):  # the owner may have ended meanwhile
        os.write(sys.stdout.fileno(), f"{os.environ['WANDB_SERVICE']}\n".encode())
    if owner:
        values = _read_owner(owner)
    # wandb-core ends with this process, so this bounds the time of sending after the owner's end.
    deadline = threading.Timer(finish_timeout, os._exit, [1])
    deadline.daemon = True
    deadline.start()
    if values.get("closed_run"):
        _finish_closed_run(values)
    if "run_id" in values and not values.get("closing") and not _finish_orphaned_run(values):
        os._exit(0)  # a teardown would wait for the killed wandb-core
    # The owner's own finish() may still be running. The teardown ends the run with the same exit code.
    wandb.teardown(values.get("exit_code", 1))
    if values.get("closing") and not values.get("dismissed"):
        _write_handback(values, values["next_step"])
    os._exit(0)  # the owner waits, and no work is left for an orderly exit


def _read_owner(owner: psutil.Process | None) -> dict[str, Any]:
    """Return the owner's values, sent until ``dismissed``, ``taken_over`` or its end. None is an owner that has ended.

    The end is detected by the owner's pid, because processes that it forked keep the pipe open.
    """
    values: dict[str, Any] = {}
    text = b""
    while not values.get("dismissed") and not values.get("taken_over"):
        is_alive = owner is not None and _is_alive(owner)
        if not select.select([sys.stdin.fileno()], [], [], OWNER_POLL_INTERVAL if is_alive else 0)[0]:
            if is_alive:
                continue
            break
        data = os.read(sys.stdin.fileno(), 65536)
        if not data:
            break
        *lines, text = (text + data).split(b"\n")
        for line in lines:
            values.update(json.loads(line))
    return values


def _finish_orphaned_run(values: dict[str, Any]) -> bool:
    """Finish the owner's run. If wandb-core was killed, too, send what it has written to disk.

    Returns:
        Whether wandb-core runs.
    """
    import wandb

    from ultralytics_wb_ddp.wandb_client.internals import flush, has_finish_timed_out
    from ultralytics_wb_ddp.wandb_client.run_state import get_next_step, get_run_dir

    exit_code = values.get("exit_code", 1)
    with contextlib.suppress(Exception):
        run = wandb.attach(values["run_id"])
        if values.get("preempting"):
            run.mark_preempting()
        flush(run)
        next_step = get_next_step(run)
        run.finish(exit_code=exit_code)
        _write_handback(values, next_step)
        is_sent = not run.offline and not has_finish_timed_out(run)
        _record_end(values, get_run_dir(run), exit_code=exit_code, next_step=next_step, is_sent=is_sent)
        return True
    if _has_core(psutil.Process()):
        return True
    _send_from_disk(values, exit_code)
    return False


def _finish_closed_run(values: dict[str, Any]) -> None:
    """Finish a run that the owner has closed for the workers and no process has taken up."""
    import wandb

    from ultralytics_wb_ddp.runs.handoff import is_taken_up
    from ultralytics_wb_ddp.wandb_client.server import ROW_COUNT_LAG, find_state

    closed = values["closed_run"]
    time.sleep(min(max(0.0, values["closed_at"] + ROW_COUNT_LAG - time.time()), ROW_COUNT_LAG))
    with contextlib.suppress(Exception):  # the server is away, or W&B refuses
        # A worker of another host leaves no handback here, but it changes the state.
        is_handed_over = is_taken_up(values.get("handback_file"))
        if is_handed_over or find_state(closed["id"], closed["project"], closed["entity"]) != "finished":
            return
        settings = wandb.Settings(console="off", silent=True, x_disable_stats=True, x_disable_meta=True)
        run = wandb.init(**closed, resume="must", settings=settings)
        if values.get("preempting"):
            run.mark_preempting()
        run.finish(exit_code=values.get("exit_code", 1))


def _write_handback(values: dict[str, Any], next_step: int) -> None:
    from ultralytics_wb_ddp.runs.handoff import write_handback

    if values.get("handback_file"):
        write_handback(Path(values["handback_file"]), next_step=next_step, exit_code=values.get("exit_code", 1))


def _send_from_disk(values: dict[str, Any], exit_code: int) -> None:
    """Send the session of a killed wandb-core, with the run's true end."""
    from ultralytics_wb_ddp.runs.journal import record
    from ultralytics_wb_ddp.runs.unsent_sessions import send_session

    journals = [Path(journal) for journal in values.get("journals", ())]
    if not journals:
        return
    folder = journals[0]
    record(journals, folder, service_pid=None)  # otherwise the command would wait for this process to send
    is_preempted = bool(values.get("preempting"))
    _record_end(values, folder, exit_code=exit_code, next_step=0, is_sent=False, is_preempted=is_preempted)
    _write_handback(values, 0)
    if values.get("is_online"):
        send_session(folder, timeout=None)  # this process itself has a limit


def _record_end(values: dict[str, Any], folder: Path, **end: Any) -> None:
    from ultralytics_wb_ddp.runs.journal import record_end

    record_end(map(Path, values.get("journals", ())), folder, **end)


if __name__ == "__main__":
    _main()
