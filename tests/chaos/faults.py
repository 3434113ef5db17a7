"""What may go wrong, and how it is done: to processes by signals, to the server on request, to the disk by its owner."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wandb_server import WandbServer

from chaos.disk import SmallDisk
from chaos.processes import CORE, LAUNCHER, SERVICE_ROLE, Found, find

EVERY = "every process"
GROUP = "process group"
POLL = 0.2  # seconds between two looks for a process that is not there yet


@dataclass
class Target:
    """What a fault happens to.

    Attributes:
        job: Name of the life in the environment of its processes.
        launcher: Id of the process that was started first.
        processes: "1", "2" or "torchrun".
        directory: Directory of the job.
        server: The server that the job talks to.
        over: Set when the life has ended.
        disk: The small disk that W&B writes to, if there is one.
    """

    job: str
    launcher: int
    processes: str
    directory: Path
    server: WandbServer
    over: threading.Event
    disk: SmallDisk | None = None

    def find(self, role: str) -> list[Found]:
        """Return the processes of a role, the oldest first."""
        processes = sorted(find(self.job, self.launcher), key=lambda process: process.pid)
        if role == EVERY:
            return processes
        alone = {"rank 0": LAUNCHER} if self.processes == "1" else {}
        launched = {LAUNCHER: "torchrun"} if self.processes == "torchrun" else {}
        role = {**alone, **launched}.get(role, role)
        return [process for process in processes if process.role == role]

    def wait_for(self, role: str) -> list[Found]:
        """Return the processes of a role as soon as there are any; nothing once the life has ended."""
        while not (found := self.find(role)) and not self.over.wait(POLL):
            pass
        return found


Act = Callable[[Target, dict[str, Any]], list[str]]  # it returns what it has done, for the record


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
        group: Its class in the table.
        act: How it is done; None where the job does it itself.
        is_wandb: Whether it happens to W&B only, so that the training must end as without it.
        needs: Processes that it needs: () for any.
        needs_server: Whether it happens to the server.
        seconds: Range of the seconds that it lasts.
        raises: Whether the job raises an exception.
        from_start: Whether the job starts with it.
        on_small_disk: Whether W&B writes to a small disk, so that it can be full.
        signal: Its signal.
        role: Whose process it happens to.
        allowance: Seconds by which it may lengthen a life, besides those that it lasts.
    """

    group: str
    act: Act | None = None
    is_wandb: bool = False
    needs: tuple[str, ...] = ()
    needs_server: bool = False
    seconds: tuple[float, float] | None = None
    raises: bool = False
    from_start: bool = False
    on_small_disk: bool = False
    signal: int = 0
    role: str = ""
    allowance: float = 20.0

    def is_possible(self, usage: str, processes: str, *, online: bool) -> bool:
        """Return whether it can happen to a job; wandb-core of a run of the script's own is a child of the script."""
        has_process = not (usage == "A" and self.role == SERVICE_ROLE)
        return has_process and (not self.needs or processes in self.needs) and (online or not self.needs_server)


def send(number: int, process: Found) -> str:
    """Send a signal and return what was done."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, number)
    return f"{signal.Signals(number).name} to {process.role} ({process.pid})"


def signals(number: int, role: str) -> Act:
    """Return an act that signals the processes of a role, or all processes at once."""
    return lambda target, _: [send(number, process) for process in target.wait_for(role)]


def one_by_one(number: int) -> Act:
    """Return an act that signals every process, with gaps, as some schedulers do."""

    def act(target: Target, details: dict[str, Any]) -> list[str]:
        done = []
        for process in target.find(EVERY):
            done.append(send(number, process))
            target.over.wait(details["seconds"])
        return done

    return act


def to_group(number: int) -> Act:
    """Return an act that signals the process group of the launcher, as a terminal does."""

    def act(target: Target, _: dict[str, Any]) -> list[str]:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(target.launcher, number)
        return [f"{signal.Signals(number).name} to the process group"]

    return act


def stops(role: str) -> Act:
    """Return an act that stops processes for some seconds."""

    def act(target: Target, details: dict[str, Any]) -> list[str]:
        stopped = target.wait_for(role)
        done = [send(signal.SIGSTOP, process) for process in stopped]
        time.sleep(details["seconds"])
        return [*done, *(send(signal.SIGCONT, process) for process in stopped)]

    return act


def fails(**fault: Any) -> Act:
    """Return an act that lets requests fail, for some seconds or until the trial is over."""

    def act(target: Target, details: dict[str, Any]) -> list[str]:
        added = target.server.faults.add("*", **fault)
        if "seconds" in details:
            time.sleep(details["seconds"])
            added.remove()
        return [f"requests of the server fail: {fault}"]

    return act


def goes_away(target: Target, details: dict[str, Any]) -> list[str]:
    """Let the server refuse connections, for some seconds or until the trial is over."""
    target.server.down()
    if "seconds" in details:
        time.sleep(details["seconds"])
        target.server.up()
    return ["the server refuses connections"]


def refuses_key(target: Target, _: dict[str, Any]) -> list[str]:
    """Let the server refuse the API key."""
    target.server.api_keys.clear()
    return ["the server refuses the API key"]


def fills_disk(target: Target, _: dict[str, Any]) -> list[str]:
    """Fill the small disk that W&B writes to."""
    assert target.disk
    return [target.disk.fill()]


def deletes_runs(target: Target, _: dict[str, Any]) -> list[str]:
    """Delete the directories that W&B writes to."""
    folders = [folder for folder in target.directory.rglob("wandb") if list(folder.glob("*run-*"))]
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    return [f"deleted {folder.relative_to(target.directory)}" for folder in folders]


TWO = ("2", "torchrun")
LAUNCHED = ("2",)
NAMES = {signal.SIGKILL: "kill", signal.SIGTERM: "terminate", signal.SIGINT: "interrupt"}
ROLES: dict[str, tuple[str, ...]] = {LAUNCHER: (), "rank 0": TWO, "rank 1": TWO, "torchrun": LAUNCHED}


def _signal_faults() -> dict[str, Fault]:
    faults = {}
    for number, verb in NAMES.items():
        for role, needs in ROLES.items():
            faults[f"{verb} {role}"] = Fault(verb, signals(number, role), needs=needs, signal=number, role=role)
        for role in (SERVICE_ROLE, CORE):
            faults[f"{verb} {role}"] = Fault(
                "W&B's processes", signals(number, role), is_wandb=True, signal=number, role=role
            )
    for number in (signal.SIGTERM, signal.SIGINT):
        verb = NAMES[number]
        faults[f"{verb} {GROUP}"] = Fault(verb, to_group(number), signal=number, role=GROUP)
        faults[f"{verb} {EVERY}"] = Fault(
            verb, one_by_one(number), seconds=(0.0, 0.5), signal=number, role=EVERY, allowance=40
        )
    faults[f"kill {EVERY}"] = Fault("kill", signals(signal.SIGKILL, EVERY), signal=signal.SIGKILL, role=EVERY)
    for role, needs in {**ROLES, SERVICE_ROLE: (), CORE: ()}.items():
        group, is_wandb = ("W&B's processes", True) if role in {SERVICE_ROLE, CORE} else ("stop", False)
        faults[f"stop {role}"] = Fault(
            group, stops(role), is_wandb=is_wandb, needs=needs, seconds=(1.0, 6.0), signal=signal.SIGSTOP, role=role
        )
    return faults


def _server(act: Act, seconds: tuple[float, float] | None = None) -> Fault:
    return Fault("server", act, is_wandb=True, needs_server=True, seconds=seconds, allowance=60)


FOR_SECONDS = (1.0, 6.0)
FAULTS: dict[str, Fault] = {
    **_signal_faults(),
    "exception": Fault("exception", raises=True),
    "burst of 500": _server(fails(status=500), FOR_SECONDS),
    "503 from then on": _server(fails(status=503)),
    "refused for seconds": _server(goes_away, FOR_SECONDS),
    "refused from then on": _server(goes_away),
    "hangs for seconds": _server(fails(hang=True), FOR_SECONDS),
    "hangs from then on": _server(fails(hang=True)),
    "slow": _server(fails(delay=1.0)),
    "401 from then on": _server(refuses_key),
    "429": _server(fails(status=429, retry_after=1, times=5)),
    "lost replies": _server(fails(lose_reply=True, times=3)),
    "cut connections": _server(fails(cut=True, times=3)),
    "full disk": Fault("disk", fills_disk, is_wandb=True, on_small_disk=True),
    "read-only disk": Fault("disk", is_wandb=True, from_start=True, on_small_disk=True),
    "deleted run directory": Fault("disk", deletes_runs, is_wandb=True),
}
