"""Sweeps: N trials are N runs, each in its true state, whatever number of processes a trial takes."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from wandb_server import API_KEY, StoredRun, WandbServer

from support.jobs import NIGHTLY, PRELUDE, RunOnline, job_environment, run_command, wait_until_closed
from support.paths import EXAMPLES, TINY
from ultralytics_wb_ddp import ConfigurationError, get_wandb_sweep_id, run_sweep
from ultralytics_wb_ddp.cli.main import main
from ultralytics_wb_ddp.sweeps.run_sweep import split_devices
from ultralytics_wb_ddp.sweeps.sweep_config import (
    SweepConfig,
    check_objective,
    check_parameters,
    sweep_path,
    train_arguments,
)
from ultralytics_wb_ddp.sweeps.trial_job import make_trial_job
from ultralytics_wb_ddp.utils.serialization import to_plain

SWEEP = """\
import wandb
from ultralytics_wb_ddp import get_wandb_sweep_id, run_sweep
from ultralytics_wb_ddp.sweeps import agents
agents.HEARTBEAT = 0.3  # five seconds are for a service that many ask

def sweep(parameters, trial, method="grid", **arguments):
    metric = {"name": "metrics/mAP50-95(B)", "goal": "maximize"}
    definition = {"method": method, "project": "demo", "metric": metric, "parameters": parameters}
    return run_sweep(definition, trial, **arguments)
"""
LONG = 300  # epochs: longer than any test waits


def values(run: StoredRun, key: str) -> list[Any]:
    return [row[key] for row in run.history if key in row]


def epochs(run: StoredRun) -> list[Any]:
    return values(run, "epoch")


# What is checked before anything is started


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"epochs": 3.0}, {"epochs": 3}),
        ({"epochs": "3.0"}, {"epochs": 3}),
        ({"batch": 16.0, "imgsz": 64.0}, {"batch": 16, "imgsz": 64}),
        ({"lr0": "0.01"}, {"lr0": 0.01}),
        ({"lr0": 1.0}, {"lr0": 1.0}),
        ({"cos_lr": "true"}, {"cos_lr": True}),
        ({"optimizer": "SGD"}, {"optimizer": "SGD"}),
    ],
)
def test_parameters_get_the_types_of_training_arguments(given: dict[str, Any], meant: dict[str, Any]) -> None:
    arguments = train_arguments(given, "sweep")

    assert arguments == meant
    assert [type(value) for value in arguments.values()] == [type(value) for value in meant.values()]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"lr_0": {"value": 0.1}}, r"'lr_0' is no training argument .* did you mean 'lr0'"),
        ({"epochs": {"values": [1, 2.5]}}, r"epochs.*2\.5.*int"),
        ({"epochs": {"min": 1.0, "max": 5.0}}, r"1 instead of 1\.0"),
        ({"epochs": {"distribution": "q_uniform", "min": 1, "max": 5, "q": 0.5}}, "whole numbers"),
        ({"lr0": {"min": 0, "max": 0.1}}, "write both bounds as whole numbers, or both with a point"),
        ({"lr0": {"values": 0.1}}, "value, values, or min and max are expected"),
        ({"lr0": 0.1}, r"lr0=0\.1; value, values, or min and max are expected"),
        ({"augment": {"parameters": {"fliplr": {"value": 0.1}}}}, "augment is nested"),
        ({"lrO": {"distribution": "normal", "mu": 0.1, "sigma": 0.1}}, "'lrO' is no training argument"),
    ],
)
def test_parameter_that_cannot_work_is_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check_parameters(parameters, "sweep.yaml")


def test_parameters_that_can_work_are_not_refused() -> None:
    whole = {"epochs": {"min": 1, "max": 5}, "batch": {"distribution": "q_uniform", "min": 8, "max": 64, "q": 8}}
    numbers = {"lr0": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-1}, "box": {"min": 1.0, "max": 9.0}}
    check_parameters({**whole, **numbers, "momentum": {"distribution": "normal", "mu": 0.9}}, "sweep.yaml")
    check_parameters({"my_depth": {"values": [1, 2]}}, "sweep.yaml", allow_others=True)


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ({"methd": "grid"}, "'methd' is unknown; did you mean 'method'"),
        ({"method": "grid"}, "parameters is missing"),
        ({"method": "hyperband", "parameters": {"lr0": {"value": 1}}}, "choose one of grid, random, bayes"),
        ({"method": "bayes", "parameters": {"lr0": {"value": 1}}}, "bayes needs a metric"),
        (
            {"method": "grid", "parameters": {"lr0": {"value": 1}}, "early_terminate": {"type": "hyperband"}},
            "early_terminate needs a metric",
        ),
        (
            {"method": "grid", "parameters": {"lr0": {"value": 1}}, "metric": {"name": "a", "goal": "max"}},
            "choose one of minimize, maximize",
        ),
        ({"method": "grid", "parameters": {"lr0": {"value": 1}}, "program": "train.py"}, "W&B's own agent"),
        ("no-such-file.yaml", "cannot be read"),
    ],
)
def test_sweep_that_cannot_work_is_refused(definition: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        SweepConfig.read(definition)


def test_what_is_said_on_the_command_line_gets_to_the_sweep_and_to_the_file_of_its_job(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/small.yaml").write_text("model: yolo11n.pt\ntrain: {epochs: 5, batch: '${oc.env:BATCH}'}\n")
    (tmp_path / "sweep.yaml").write_text("method: grid\nparameters: {lr0: {value: 0.1}}\njob: jobs/small.yaml\n")

    config = SweepConfig.read(tmp_path / "sweep.yaml", ["method=random", "job.train.epochs=3"])

    assert config.definition == {"method": "random", "parameters": {"lr0": {"value": 0.1}}}
    assert to_plain(config.job) == {
        "model": "yolo11n.pt",
        "train": {"epochs": 3, "batch": "${oc.env:BATCH}"},
        "name": "small",
    }


def test_objective_that_no_training_logs_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"did you mean .*'metrics/mAP50-95\(B\)'"):
        check_objective("metrics/mAP50-95", "sweep.yaml")
    for name in ("metrics/mAP50-95(B)", "metrics/mAP50(M)", "metrics/accuracy_top1", "val/box_loss"):
        check_objective(name, "sweep.yaml")


def test_sweep_is_named_by_id_path_or_address() -> None:
    assert sweep_path("abc") == "abc"
    assert sweep_path("team/demo/abc") == "team/demo/abc"
    assert sweep_path("https://wandb.ai/team/demo/sweeps/abc?nw=1") == "team/demo/abc"
    with pytest.raises(ConfigurationError, match="is no sweep; give entity/project/id"):
        sweep_path("a/b/c/d")


def test_agents_share_the_devices_equally() -> None:
    assert split_devices([0, 1, 2, 3], 2) == [[0, 1], [2, 3]]
    assert split_devices("0,1,2,3", 2) == ["0,1", "2,3"]
    with pytest.raises(ConfigurationError, match="3 agents cannot share"):
        split_devices([0, 1, 2, 3], 3)


def test_trial_changes_arguments_model_devices_and_names_in_the_job() -> None:
    job = {"name": "rates", "group": "${name}", "wandb": {"project": "mine"}, "train": {"name": "train", "epochs": 5}}
    job["model"] = {"weights": "yolo11n.pt", "task": "detect"}
    parameters = {"epochs": 3.0, "model": "yolo11s.pt"}

    changed = make_trial_job(job, parameters, device=[2, 3], run_id="abc", project="theirs")

    assert to_plain(changed) == {
        "name": "rates-abc",
        "group": "${name}",
        "wandb": {"project": "theirs"},
        "train": {"name": "train-abc", "epochs": 3, "device": [2, 3]},
        "model": {"weights": "yolo11s.pt", "task": "detect"},
    }


@pytest.mark.parametrize(
    ("environment", "arguments", "message"),
    [
        ({"LOCAL_RANK": "1"}, {}, r"in a worker \(LOCAL_RANK=1\)"),
        ({"WANDB_SWEEP_ID": "s", "WANDB_RUN_ID": "r", "WANDB_SWEEP_PARAM_PATH": "p"}, {}, "in a trial of a sweep"),
        ({"WANDB_MODE": "offline"}, {}, "a sweep needs W&B's server"),
        ({"WANDB_PROJECT": "demo"}, {"devices": "0,1"}, "parameters.device: agents that share the devices"),
        ({}, {"agents": 21}, "1 to 20"),
        ({}, {"count": 0}, "count=0"),
    ],
)
def test_sweep_that_cannot_run_here_is_refused(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], arguments: dict[str, Any], message: str
) -> None:
    for name in ("LOCAL_RANK", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ConfigurationError, match=message):
        run_sweep({"method": "grid", "parameters": {"device": {"value": "0"}}}, print, **arguments)


def test_sweep_id_is_known_in_trials_and_their_workers_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_SWEEP_ID", raising=False)
    assert get_wandb_sweep_id() is None

    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    assert get_wandb_sweep_id() == "abc"


# Trials


def test_trials_are_runs_each_in_its_true_state(run_online: RunOnline) -> None:
    job, server = run_online(
        SWEEP
        + """\
from ultralytics_wb_ddp.sweeps import sweep_api
sweep_api.COUNTING = 0.5

def trial(parameters):
    if parameters["depth"] == 2:
        raise SystemExit(3)  # before it has a run
    wandb.init(project="another").log({"loss": parameters["epochs"], "sweep": get_wandb_sweep_id()})

result = sweep({"epochs": {"value": 3.0}, "depth": {"values": [1, 2]}}, trial)
print("RESULT", result.path, result.url, [(trial.run_id, trial.exit_code) for trial in result.trials])
print("ENVIRONMENT", [name for name in os.environ if name in ("WANDB_PROJECT", "WANDB_SWEEP_ID", "WANDB_RUN_ID")])
""",
    )

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
    job, server = run_online(
        SWEEP
        + """\
def trial(parameters):
    with wandb.init():
        raise RuntimeError("out of luck")

sweep({"depth": {"values": [1, 2, 3]}}, trial)
""",
        check=False,
        WANDB_AGENT_MAX_INITIAL_FAILURES="2",
    )

    assert job.exit_code == 1
    assert "SweepError: all of the first 2 trials have failed" in job.output
    assert [(run.state, run.exit_code) for run in server.runs] == [("failed", 1), ("failed", 1)]


@NIGHTLY
def test_workers_log_into_the_run_of_the_trial_whether_it_is_open_or_closed(run_online: RunOnline) -> None:
    _, server = run_online(
        SWEEP
        + """\
def trial(parameters):
    model = YOLO(os.environ["MODEL"])
    name = os.environ["WANDB_RUN_ID"]
    arguments = {**TWO_PROCESSES, "epochs": 1, "name": name}
    how = parameters["how"]
    if how == "open":
        run = wandb.init()
        add_wandb_callback(model, run=run)
        model.train(**arguments)
    elif how == "none":
        add_wandb_callback(model)
        model.train(**arguments)
    else:
        with WandbManager({"wandb": {"project": "another"}}, name) as manager:
            add_wandb_callback(model, run_mode="auto" if how == "closed" else "new")
            manager.prepare_for_training()
            model.train(**arguments)
            manager.resume_after_training().log({"after": 1})

sweep({"how": {"values": ["open", "none", "closed", "new"]}}, trial)
""",
    )

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


def test_agents_work_side_by_side_on_a_sweep_that_is_joined(run_online: RunOnline) -> None:
    job, server = run_online(
        SWEEP
        + """\
import time
from pathlib import Path

def trial(parameters):
    Path(os.environ["WANDB_RUN_ID"]).touch()
    deadline = time.monotonic() + 60
    while len(list(Path().glob("*-trial*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    with wandb.init() as run:
        run.log({"device": parameters["device"], "lr0": parameters["lr0"], "others": len(list(Path().glob("*-trial*")))})

made = wandb.sweep({"method": "grid", "parameters": {"lr0": {"values": ["0.1", "0.2"]}}}, project="demo")
url = f"{os.environ['WANDB_BASE_URL']}/team/demo/sweeps/{made}"
os.environ.pop("WANDB_ENTITY", None), os.environ.pop("WANDB_PROJECT", None)
print("TRIALS", len(run_sweep(url, trial, agents=2, devices=[0, 1, 2, 3]).trials))
""",
    )

    assert "TRIALS 2" in job.output
    assert len(server.sweeps[0].agents) == 2
    assert sorted(values(run, "device")[0] for run in server.runs) == [[0, 1], [2, 3]]
    assert sorted(values(run, "lr0")[0] for run in server.runs) == [0.1, 0.2]
    assert [values(run, "others") for run in server.runs] == [[2], [2]]


LONG_TRIALS = (
    PRELUDE
    + SWEEP
    + f"""\
def trial(parameters):
    model = YOLO(os.environ["MODEL"])
    add_wandb_callback(model)
    model.train(**{{**ONE_PROCESS, "epochs": {LONG}, "name": os.environ["WANDB_RUN_ID"]}})

sweep({{"lr0": {{"values": [0.1, 0.2]}}}}, trial)
"""
)


class Agent:
    """A sweep that is going on in a process of its own."""

    def __init__(self, directory: Path, data: Path, server: WandbServer) -> None:
        for folder in ("home", "yolo"):
            (directory / folder).mkdir()
        (directory / "job.py").write_text(textwrap.dedent(LONG_TRIALS), encoding="utf-8")
        self.output = directory / "output.txt"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "job.py"],
                cwd=directory,
                env={**job_environment(directory, data), **server.environment},
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
        (signal.SIGTERM, 143, ("preempted", 143)),
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
            code = agent.process.wait(timeout=120)
        finally:
            agent.process.kill()
        wait_until_closed(server)

    assert (first.state, first.exit_code) == ("finished", 0), agent.output.read_text()[-3000:]
    assert 1 <= max(epochs(first)) < LONG
    assert isinstance(first.summary["metrics/mAP50-95(B)"], (int, float))
    assert (second.state, second.exit_code) == state, agent.output.read_text()[-3000:]
    assert code == exit_code
    assert len(server.runs) == 2


# The command


EXAMPLE = EXAMPLES / "sweep.yaml"
SMALL = [f"job.model={TINY}", "job.train.epochs=1", "job.train.imgsz=64", "job.train.workers=0"]
SMALL += ["job.train.plots=false", "job.train.deterministic=false", "parameters.batch.values=[8]"]
TWO_PROCESSES = ["job.train.device=[0,1]", "job.train.trainer=ultralytics_wb_ddp.testing:CpuDDPTrainer"]


def test_example_runs_its_job_in_two_processes(tmp_path: Path, shapes: Path) -> None:
    with WandbServer() as server:
        done = run_command(
            tmp_path,
            "sweep",
            str(EXAMPLE),
            *(*SMALL, *TWO_PROCESSES, "method=random"),
            *(
                f"job.train.data={shapes}",
                f"job.train.project={tmp_path / 'runs'}",
                "job.wandb.api_key=${oc.env:MY_KEY}",
            ),
            *("--count", "1"),
            timeout=120,
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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["parameters.lr_0={value: 0.1}"], r"parameters: 'lr_0' is no training argument .*; did you mean 'lr0'\?"),
        (["metric.name=metrics/mAP"], "metric.name='metrics/mAP' is nothing that a training logs"),
        (["job.train.optimizer=auto"], "parameters.lr0: optimizer='auto' ignores it; give the job's train.optimizer"),
        (["job.train.device=[0,1,2]", "--agents", "2"], "2 agents cannot share device=[0, 1, 2] equally"),
        (["job.wandb.run_mode=new"], "run_mode='new': the sweep looks for its objective in the run of the trial"),
        (["job.wandb.id=abc"], "the sweep's job: wandb.id='abc': each trial has a run of its own"),
        (["job.wandb.mode=offline"], "a sweep needs W&B's server"),
        (["job.train.save_dir=here"], "all trials would write there"),
        (
            ["job.wandb.notes=${oc.env:NO_SUCH_VARIABLE}"],
            r"the sweep's job, setting .*set the variable NO_SUCH_VARIABLE",
        ),
        (["job.modle=yolo11n.pt"], "Error: the sweep's job: 'modle' is unknown; did you mean 'model'?"),
        (["job.train.epochs=two"], "Error: the sweep's job: train.epochs: 'epochs=two'"),
        (["--join", "team/demo/nothing"], "there is no sweep 'team/demo/nothing'"),
    ],
)
def test_command_says_what_cannot_work_before_a_sweep_is_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with WandbServer() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        done = CliRunner().invoke(main, ["sweep", str(EXAMPLE), *SMALL, "job.train.data=coco8.yaml", *words])

    assert done.exit_code == 1
    assert re.search(message, done.output) or message in done.output
    assert server.sweeps == []
