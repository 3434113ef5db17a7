"""Sweeps: N trials are N runs, each in its true state, whatever number of processes a trial takes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wandb_server import API_KEY, StoredRun, WandbServer

from support.example_sweep import EXAMPLE, SMALL
from support.jobs import NIGHTLY, RunOnline, run_command, scenario_environment, wait_until_closed
from support.paths import SCENARIOS

SCENARIO = "sweeps.py"
LONG = 300  # epochs: longer than any test waits
ONE_PROCESS = ["job.train.device=cpu"]
TWO_PROCESSES = ["job.train.device=[0,1]", "job.train.trainer=ultralytics_wb_ddp.testing:CpuDDPTrainer"]


def values(run: StoredRun, key: str) -> list[Any]:
    return [row[key] for row in run.history if key in row]


def epochs(run: StoredRun) -> list[Any]:
    return values(run, "epoch")


@NIGHTLY
def test_sweep_of_a_function_says_how_each_trial_ended(run_online: RunOnline) -> None:
    job, server = run_online(SCENARIO, "states")

    well, failed = server.runs
    assert (well.state, well.exit_code, failed.state, failed.exit_code) == ("finished", 0, "failed", 3)
    assert {(run.entity, run.project, run.sweep) for run in server.runs} == {("team", "demo", "sweep0")}
    assert well.history[0] | {"loss": 3, "sweep": "sweep0"} == well.history[0]
    assert well.values == {"epochs": 3.0, "depth": 1}
    trials = [("sweep0-trial0", 0), ("sweep0-trial1", 3)]
    assert f"RESULT team/demo/sweep0 {server.url}/team/demo/sweeps/sweep0 {trials}" in job.output
    assert "ENVIRONMENT []" in job.output
    assert "has no number 'metrics/mAP50-95(B)', which is the sweep's objective" in job.output


@NIGHTLY
def test_sweep_ends_when_trials_do_nothing_but_fail(run_online: RunOnline) -> None:
    job, server = run_online(SCENARIO, "only_failures", check=False, WANDB_AGENT_MAX_INITIAL_FAILURES="2")

    assert job.exit_code == 1
    assert "SweepError: all of the first 2 trials have failed" in job.output
    assert [(run.state, run.exit_code) for run in server.runs] == [("failed", 1), ("failed", 1)]


@NIGHTLY
def test_workers_log_into_the_run_of_the_trial_whether_it_is_open_or_closed(run_online: RunOnline) -> None:
    _, server = run_online(SCENARIO, "usages")

    runs = server.backend.runs
    of_rank_0 = [runs[name] for name in ("sweep0-trial0", "sweep0-trial1", "sweep0-trial2", "sweep0-trial3-rank-0")]
    assert [epochs(run) for run in of_rank_0] == [[1, 1, 1]] * 4
    assert epochs(runs["sweep0-trial3-rank-1"]) == [1]
    assert [values(runs[f"sweep0-trial{number}"], "after") for number in range(4)] == [[], [], [1], [1]]
    assert len(server.runs) == 6
    assert {run.state for run in server.runs} == {"finished"}
    assert [run.destroyed_rows for run in server.runs] == [[]] * 6
    assert [run.sweep for run in server.runs if "rank" in run.id] == [None, None]
    assert all(isinstance(run.summary["metrics/mAP50-95(B)"], (int, float)) for run in of_rank_0)


@NIGHTLY
def test_agents_work_side_by_side_on_a_sweep_that_is_joined(run_online: RunOnline) -> None:
    job, server = run_online(SCENARIO, "joined")

    assert "TRIALS 2" in job.output
    assert len(server.sweeps[0].agents) == 2
    assert sorted(values(run, "device")[0] for run in server.runs) == [[0, 1], [2, 3]]
    assert sorted(values(run, "lr0")[0] for run in server.runs) == [0.1, 0.2]
    assert [values(run, "others") for run in server.runs] == [[2], [2]]


class Agent:
    """A sweep that is going on in a process of its own."""

    def __init__(self, directory: Path, data: Path, server: WandbServer) -> None:
        for folder in ("home", "yolo"):
            (directory / folder).mkdir()
        self.output = directory / "output.txt"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(SCENARIOS / SCENARIO), "long_trainings", str(LONG)],
                cwd=directory,
                env=scenario_environment(directory, data, server.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait_for(self, condition: Callable[[], Any], timeout: float = 120.0) -> Any:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self.process.poll() is None:
            if found := condition():
                return found
            time.sleep(0.1)
        raise AssertionError(self.output.read_text()[-3000:])


@pytest.mark.parametrize(
    ("number", "exit_code", "state"),
    [
        pytest.param(signal.SIGTERM, 143, ("preempted", 143), marks=NIGHTLY),
        pytest.param(signal.SIGINT, -signal.SIGINT, ("failed", 255), marks=NIGHTLY),
        pytest.param(None, 0, ("finished", 0), marks=NIGHTLY, id="cancelled at W&B"),
    ],
)
def test_trial_that_is_ended_early_is_finished_and_the_next_one_is_ended_with_the_agent(
    tmp_path: Path, shapes: Path, number: int | None, exit_code: int, state: tuple[str, int]
) -> None:
    with WandbServer() as server:
        agent = Agent(tmp_path, shapes, server)
        try:
            (first,) = agent.wait_for(lambda: server.runs)
            server.sweeps[0].early.add(first.id)
            second = agent.wait_for(lambda: [run for run in server.runs[1:] if run.heartbeat])[0]
            if number:
                agent.process.send_signal(number)
            else:
                server.sweeps[0].state = "CANCELED"
            code = agent.process.wait(timeout=400)
        finally:
            agent.process.kill()
        wait_until_closed(server)

    assert (first.state, first.exit_code) == ("finished", 0), agent.output.read_text()[-3000:]
    assert 1 <= max(epochs(first)) < LONG
    assert isinstance(first.summary["metrics/mAP50-95(B)"], (int, float))
    assert (second.state, second.exit_code) == state, agent.output.read_text()[-3000:]
    assert code == exit_code
    assert len(server.runs) == 2


@pytest.mark.parametrize(
    "processes", [pytest.param(ONE_PROCESS, id="one"), pytest.param(TWO_PROCESSES, id="two", marks=NIGHTLY)]
)
def test_example_runs_its_job(tmp_path: Path, shapes: Path, processes: list[str]) -> None:
    with WandbServer() as server:
        done = run_command(
            tmp_path,
            "sweep",
            str(EXAMPLE),
            *(*SMALL, *processes, "method=random"),
            *(
                f"job.train.data={shapes}",
                f"job.train.project={tmp_path / 'runs'}",
                "job.wandb.api_key=${oc.env:MY_KEY}",
            ),
            *("--count", "1"),
            timeout=400,
            **{**server.environment, "WANDB_API_KEY": "", "MY_KEY": API_KEY},
        )

    assert done.returncode == 0, done.stderr[-5000:]
    (run,), (sweep,) = server.runs, server.sweeps
    assert (run.project, run.sweep, run.state, run.exit_code) == ("demo", sweep.name, "finished", 0)
    assert sweep.config.keys() == {"name", "method", "metric", "parameters", "early_terminate"}
    assert run.fields["displayName"] == f"coco8-rates-{run.id}"
    assert epochs(run) == [1, 1, 1]
    assert isinstance(run.summary["metrics/mAP50-95(B)"], (int, float))
    assert {name: run.values[name] for name in ("lr0", "momentum", "batch")} == sweep.trials[run.id]
    assert (tmp_path / "runs" / run.id / "weights/best.pt").is_file()
    assert f"{run.id}  finished" in done.stdout
    assert f"1 of 1 trials have succeeded: {server.url}/team/demo/sweeps/{sweep.name}" in done.stdout
    written = [file for file in tmp_path.rglob("*") if file.is_file() and API_KEY.encode() in file.read_bytes()]
    assert written == []
