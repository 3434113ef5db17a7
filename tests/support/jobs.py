"""Scripts as users write them, run in a process of their own, and the runs that they leave."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest
from wandb_server import WandbServer

from support.paths import SCENARIOS, TESTS, TINY
from ultralytics_wb_ddp.wandb_client.run_file import RecordedRun, find_run_files, read_run

EPOCHS = [1, 2, 2]  # two epochs and the evaluation of the best checkpoint, which belongs to the last


END = 2  # the row of the training's end: curves and the table of classes


@dataclass
class Job:
    """A script that has run.

    Attributes:
        directory: Directory that it ran in.
        exit_code: Exit code of its process.
        output: What it and its workers printed.
    """

    directory: Path
    exit_code: int
    output: str

    @property
    def runs(self) -> list[RecordedRun]:
        """What each session of each W&B run wrote."""
        return [read_run(file) for file in find_run_files(self.directory)]

    @property
    def run(self) -> RecordedRun:
        """The only session of the only run."""
        (run,) = self.runs
        return run


def epochs(job: Job) -> list[int | None]:
    return [row.get("epoch") for row in job.run.history]


class RunJob(Protocol):
    """Runs a scenario, or the text of a script, and returns how it went."""

    def __call__(self, script: str, *arguments: str, check: bool = True, prelude: str = "", **env: str) -> Job:
        """Run it in a new directory; it must succeed unless ``check`` is false.

        Args:
            script: Name of a file in ``tests/scenarios`` such as ``"ends.py"``, or the text of a script.
            arguments: Function of the scenario, and the function's arguments.
            check: Whether the script must succeed.
            prelude: Text before that of the script.
            env: Environment variables.
        """


def job_environment(directory: Path, data: Path) -> dict[str, str]:
    """Return an environment as a user's shell has it: no W&B variables, nothing that pytest leaves."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("WANDB_", "PYTEST_", "YOLO_", "AWS_")) and name not in {"RANK", "ULTRALYTICS_WB_DDP"}
    }
    return {
        **kept,
        "DATA": str(data),
        "MODEL": str(TINY),
        "HOME": str(directory / "home"),  # no netrc, no settings of whoever runs the tests
        "OMP_NUM_THREADS": "1",
        "YOLO_CONFIG_DIR": str(directory / "yolo"),
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def scenario_environment(directory: Path, data: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a scenario: a user's shell that finds the scenarios' modules, too."""
    paths = [path for path in (variables.get("PYTHONPATH", os.environ.get("PYTHONPATH")), str(TESTS)) if path]
    return {**job_environment(directory, data), **variables, "PYTHONPATH": os.pathsep.join(paths)}


def script_file(script: str, directory: Path, prelude: str = "") -> Path:
    """Prepare a directory for a script, and return the script's file.

    Args:
        script: Name of a file in ``tests/scenarios``, or the text of a script.
        directory: Directory in which the script will run.
        prelude: Text before that of the script.
    """
    for folder in ("home", "yolo"):
        (directory / folder).mkdir()
    if script.endswith(".py"):
        return SCENARIOS / script
    file = directory / "job.py"
    file.write_text(prelude + textwrap.dedent(script), encoding="utf-8")
    return file


def run_command(directory: Path, *arguments: str, timeout: float, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the project's command in a directory, as a user with an empty home would."""
    for folder in ("home", "yolo"):
        (directory / folder).mkdir(exist_ok=True)
    return subprocess.run(
        [Path(sys.executable).with_name("ultralytics-wb-ddp"), *arguments],
        cwd=directory,
        env={**job_environment(directory, directory), **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def run_in(directory: Path, command: list[str], env: dict[str, str], *, check: bool = True) -> Job:
    """Run a command in a directory and return how it went; it must succeed unless ``check`` is false."""
    process = subprocess.run(
        command,
        cwd=directory,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=540,
        check=False,
    )
    assert not check or process.returncode == 0, process.stdout[-5000:]
    return Job(directory, process.returncode, process.stdout)


class Patch(Protocol):
    """Returns a copy of a release of Ultralytics that the command has patched."""

    def __call__(self, release: Path) -> Path: ...


class LaunchAgents(Protocol):
    """Runs a script under torchrun, with an agent for each node, all on this machine."""

    def __call__(
        self, script: str, *words: str, nodes: int = 1, processes: int = 2, apart: str = "", **env: str
    ) -> Job:
        """Run a script; ``apart`` is a directory of which each further node has its own, with an old checkpoint."""


NIGHTLY = pytest.mark.nightly  # of cases whose like is tried in every run: a training takes ten seconds of two cores


class RunOnline(Protocol):
    """Runs a script online and returns it with the backend, which has nothing left to wait for."""

    def __call__(
        self, script: str, *arguments: str, count_lag: float = 0.0, check: bool = True, **env: str
    ) -> tuple[Job, WandbServer]:
        """Run it as :class:`RunJob` does, with W&B's counts of rows late by ``count_lag`` seconds."""


def wait_until_closed(server: WandbServer, timeout: float = 20.0) -> None:
    """Wait for what the processes beside killed workers still have to send."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline and any(run.exit_code is None for run in server.runs):
        time.sleep(0.1)
