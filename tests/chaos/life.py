"""One life of a job: it is started, its fault happens, and its last process ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from wandb_server import WandbServer

from chaos import usages
from chaos.disk import SmallDisk
from chaos.evidence import Life, Mark, read_marks
from chaos.faults import Target
from chaos.plan import Strike
from chaos.processes import VARIABLE
from chaos.timeline import Timeline
from support.jobs import job_environment
from ultralytics_wb_ddp.distributed.parallel_config import find_free_port

STEP = 0.02  # seconds between two looks for the moment of a fault
POLL = 0.1  # seconds between two looks at the job
LOOK = 1.0  # seconds between two looks at the command lines of its processes
END_GRACE = 20.0  # seconds after the end of a job in which processes beside it may send and end
STRIKE_END = 60.0  # seconds


@dataclass
class Job:
    """A job that is started once or several times.

    Attributes:
        name: Name of its training, and of the job in the environment of its processes.
        directory: Its directory.
        usage: Its usage.
        processes: "1", "2" or "torchrun".
        data: Dataset.
        environment: Further variables.
        disk: A small disk for W&B.
    """

    name: str
    directory: Path
    usage: str
    processes: str
    data: Path
    environment: dict[str, str] = field(default_factory=dict)
    disk: SmallDisk | None = None

    @property
    def marks(self) -> Path:
        """File of the marks of all lives."""
        return self.directory / f"{self.name}.marks"

    def start(self, number: int, strike: Strike | None) -> tuple[subprocess.Popen[bytes], Path]:
        """Start a life and return its process and the file that it prints to."""
        output = self.directory / f"{self.name}-{number}.log"
        variables = {
            **own_environment(self.directory, self.data),
            "WANDB_SILENT": "false",
            "CHAOS_LIFE": str(number),
            "CHAOS_NAME": self.name,
            "CHAOS_MARKS": str(self.marks),
            VARIABLE: f"{self.directory}/{self.name}/{number}",
            **self.environment,
            "PYTHONPATH": os.pathsep.join([str(self.directory), os.environ.get("PYTHONPATH", "")]),
        }
        words = usages.words(self.directory, self.name, self.usage)
        command = [sys.executable, *words]
        if self.processes == "torchrun":
            port = f"--master_port={find_free_port()}"
            launch = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--master_addr=127.0.0.1", port]
            command = [sys.executable, *launch, *words]
        if strike and strike.kind.raises:
            variables["CHAOS_RAISE"] = json.dumps(strike.details)
        if self.disk and strike and strike.kind.on_small_disk:
            variables["WANDB_DIR"] = str(self.disk.folder)
            command = [*self.disk.prefix, *command]
        with output.open("wb") as target:
            process = subprocess.Popen(
                command,
                cwd=self.directory,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=target,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return process, output


def own_environment(directory: Path, data: Path) -> dict[str, str]:
    """Return the environment of a job, with a directory for temporary files that no other trial has.

    W&B writes a run there if the job's directory cannot be written, and all trials have the same run id.
    """
    temporary = directory.with_name(f"{directory.name}-tmp")
    temporary.mkdir(exist_ok=True)
    return {**job_environment(directory, data), "TMPDIR": str(temporary)}


def live(
    job: Job, number: int, strike: Strike | None, server: WandbServer, usual: Timeline | None, bound: float
) -> Life:
    """Let a job live, with its fault.

    Args:
        job: The job.
        number: Number of the life.
        strike: The fault.
        server: The server.
        usual: The course of an undisturbed life; None for a life without a fault.
        bound: Seconds that this one may take.
    """
    begun = time.monotonic()
    life = Life(number, None, 0.0, bound, strike=strike, begun=time.time())
    process, output = job.start(number, strike)
    over = threading.Event()
    target = Target(
        f"{job.directory}/{job.name}/{number}", process.pid, job.processes, job.directory, server, over, job.disk
    )
    striker = threading.Thread(target=_strike, args=(life, target, job, usual), daemon=True)
    if strike and strike.kind.act and usual:
        striker.start()
    looked = 0.0
    try:
        while process.poll() is None and time.monotonic() - begun < bound:
            if time.monotonic() - looked > LOOK:
                looked = time.monotonic()
                life.shown |= {found.command for found in target.find("every process")}
            time.sleep(POLL)
        life.seconds = time.monotonic() - begun
        life.exit_code = process.poll()
        orphaned = life.exit_code is not None and life.exit_code < 0
        _wait_for_the_rest(life, target, END_GRACE + (bound if orphaned else 0.0))
    finally:
        over.set()
        _end(target)
        process.wait()
        if striker.ident:
            striker.join(STRIKE_END)  # what it has begun, it ends: the server is back then
        life.output = output.read_text(encoding="utf-8", errors="replace")
    return life


def _strike(life: Life, target: Target, job: Job, usual: Timeline) -> None:
    """Wait for the moment of a fault, and do it."""
    strike = life.strike
    assert strike
    assert strike.kind.act
    count, seconds = usual.moment(strike.at, by_steps=strike.by_steps)
    if life.number > 1:  # it continues somewhere in the middle, so only the seconds are known
        count, seconds = 0, strike.at * usual.seconds
    while not target.over.wait(STEP) and len(_own_marks(job, life.number)) < count:
        pass
    if not target.over.wait(seconds):
        at = time.time()
        life.done = strike.kind.act(target, strike.details)
        life.struck_at = at if life.done else None


def _own_marks(job: Job, number: int) -> list[Mark]:
    return [mark for mark in read_marks(job.marks) if mark.rank == 0 and mark.life == number]


def _wait_for_the_rest(life: Life, target: Target, seconds: float) -> None:
    """Wait until no process is left. The processes that are left after that are noted."""
    deadline = time.monotonic() + seconds
    while (left := target.find("every process")) and time.monotonic() < deadline:
        life.shown |= {found.command for found in left}
        time.sleep(POLL)
    life.left = [f"{found.role}: {found.command[:160]}" for found in left]


def _end(target: Target) -> None:
    """End all processes that are left, each by its id."""
    for found in target.find("every process"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(found.pid, signal.SIGKILL)
