"""A session without a wandb-core, and one without a key, are on disk and can be sent; without a training."""

from __future__ import annotations

import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from wandb_server import WandbServer

from support.jobs import Job, RunJob, scenario_environment
from support.measures import assert_is_one_whole_run
from support.paths import SCENARIOS


def test_command_for_a_wandb_core_that_dies_sends_what_it_had_not_sent(run_job: RunJob) -> None:
    with WandbServer() as server:
        job = run_job("lost_core.py", "lose_wandb_core", **server.environment)
        (command,) = set(re.findall(r"with: (ultralytics-wb-ddp sync .*)", job.output))
        send(command, job, server)

    assert_is_one_whole_run(
        "wandb-core killed; then the command that the message names",
        server,
        epochs=[1, 2],
        state="finished",
        exit_code=0,
    )


@pytest.mark.parametrize(
    ("end", "state"), [("training", ("finished", 0)), ("owner", ("finished", 0)), ("SIGTERM", ("preempted", 143))]
)
@pytest.mark.parametrize("mode", ["online", "offline"])
def test_row_that_a_wandb_core_had_in_memory_when_it_was_killed_is_there_after_the_command(
    run_job: RunJob, end: str, state: tuple[str, int], mode: str
) -> None:
    with WandbServer() as server:
        environment = {**server.environment, "WANDB_MODE": mode}
        job = run_job("lost_core.py", "lose_the_last_row", end, check=False, **environment)
        for command in set(re.findall(r"with: (ultralytics-wb-ddp sync .*)", job.output)):
            send(command, job, server)

    (run,) = server.runs
    assert [row["epoch"] for row in run.history] == [1, 2], job.output
    assert (run.state, run.exit_code) == state


def send(command: str, job: Job, server: WandbServer) -> None:
    """Call the command that a message names."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, **server.environment, "PATH": path}
    subprocess.run(shlex.split(command), cwd=job.directory, env=environment, check=True)


def test_nobody_is_asked_for_a_key_in_a_terminal(tmp_path: Path) -> None:
    for folder in ("home", "yolo"):
        (tmp_path / folder).mkdir()
    ours, theirs = pty.openpty()
    environment = scenario_environment(tmp_path, tmp_path, {"WANDB_MODE": "online", "WANDB_SILENT": "false"})
    process = subprocess.Popen(
        [sys.executable, str(SCENARIOS / "managers.py"), "only_open"],
        cwd=tmp_path,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    output = b""
    try:
        while chunk := os.read(ours, 65536):
            output += chunk
    except OSError:  # the terminal's other end is closed
        pass

    assert process.wait(timeout=60) == 0, output.decode()
    assert b"Enter your choice" not in output
    assert b"is written to disk, send it with: ultralytics-wb-ddp sync" in output
