"""The processes of a job, found by a variable that all of them inherit."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "CHAOS_JOB"
SERVICE = "ultralytics_wb_ddp.runs.service_process"
TORCHRUN = "torch.distributed.run"
LAUNCHER, SERVICE_ROLE, CORE, OTHER = "launcher", "service process", "wandb-core", "other"


@dataclass(frozen=True)
class Found:
    """A process of a job.

    Attributes:
        pid: Its id.
        parent: Id of its parent.
        role: "launcher", "torchrun", "rank 0", "rank 1", "service process", "wandb-core" or "other".
        command: Its command line.
    """

    pid: int
    parent: int
    role: str
    command: str


def find(job: str, launcher: int) -> list[Found]:
    """Return the living processes of a job.

    Args:
        job: Value of the variable.
        launcher: Id of the process that was started first.
    """
    mark = f"{VARIABLE}={job}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):  # it has just ended, or is of another user
            variables = (folder / "environ").read_bytes().split(b"\0")
            if mark in variables:
                found.append(_describe(folder, variables, launcher))
    return [process for process in found if process.role != "zombie"]


def _describe(folder: Path, variables: list[bytes], launcher: int) -> Found:
    pid, command = int(folder.name), (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    status = (folder / "stat").read_text().rpartition(")")[2].split()
    parent = int(status[1])
    if status[0] in {"Z", "X"}:
        return Found(pid, parent, "zombie", command)
    return Found(pid, parent, _role(pid, parent, command, variables, launcher), command)


def _role(pid: int, parent: int, command: str, variables: list[bytes], launcher: int) -> str:
    if "wandb-core" in command.partition(" ")[0]:
        return CORE
    if SERVICE in command:
        return SERVICE_ROLE
    if TORCHRUN in command:
        return "torchrun"
    if pid == launcher:
        return LAUNCHER
    rank = next((entry[5:].decode() for entry in variables if entry.startswith(b"RANK=")), "")
    above = Path(f"/proc/{parent}/cmdline")
    if rank and above.exists() and TORCHRUN.encode() in above.read_bytes():
        return f"rank {rank}"
    return OTHER
