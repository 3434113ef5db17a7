"""Fixtures of all tests."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from wandb_server import WandbServer

from support import measures
from support.jobs import (
    Job,
    LaunchAgents,
    Patch,
    RunJob,
    RunOnline,
    run_command,
    run_in,
    scenario_environment,
    script_file,
    wait_until_closed,
)
from support.releases import RELEASES, Releases
from support.s3_service import S3Service, s3_service
from ultralytics_wb_ddp.distributed.parallel_config import find_free_port
from ultralytics_wb_ddp.testing.shapes_dataset import make_shapes_dataset

# The files that take longest, a minute or more of one core each: with them begins what is to end at the same time.
LONGEST_FIRST = [
    "test_chaos",
    "test_sync",
    "test_outages",
    "test_true_state",
    "test_manager",
    "test_certain_trainings",
    "test_manager_ends",
    "test_training",
    "test_wandb_server",
    "test_sweeps",
    "test_groups",
    "test_demo",
    "test_many_trainings",
    "test_run_modes",
    "test_distributed_programs",
    "test_restored_trainings",
    "test_continuing",
    "test_s3_references",
    "test_parity",
    "test_inputs_of_trainings",
    "test_epochs",
    "test_online",
    "test_imports_of_trainings",
    "test_termination",
    "test_matrix",
    "test_server_queries",
    "test_rows_sent_later",
    "test_ends_of_killed_trainings",
    "test_lost_sessions",
    "test_wrong_use",
    "test_retention",
]


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault(measures.VARIABLE, str(Path(tempfile.mkdtemp(), "measures.jsonl")))
    config.option.loadscopereorder = False  # of xdist, which would begin with the files that have the most tests


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if text := measures.table():
        terminalreporter.section("what faults did to the run")
        terminalreporter.write_line(text)


@pytest.fixture(autouse=True)
def _no_state_of_wandb_is_left_to_the_next_test() -> Iterator[None]:
    """Forget what a test of this process has left in wandb, and put W&B's variables back.

    A wandb-core ends by itself after ten idle minutes. The end of a ``with`` block does not take a disabled run away
    from ``wandb.run``, and the next test's training would not be logged.
    """
    before = _wandb_variables()
    yield
    os.environ.pop("WANDB_SERVICE", None)
    run = getattr(sys.modules.get("wandb"), "run", None)
    if run is not None and run.disabled:
        run.finish()
    for name in _wandb_variables().keys() - before.keys():  # commands set some for their own process
        del os.environ[name]
    os.environ.update(before)


def _wandb_variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("WANDB_") and name != "WANDB_SERVICE"}


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of two classes that every training of the tests shares."""
    return make_shapes_dataset(tmp_path_factory.mktemp("shapes"), images=16, classes=2)


@pytest.fixture(scope="session")
def releases(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Releases:
    """Releases that pip installs; they stay in pytest's cache for the next time."""
    cache = getattr(pytestconfig, "cache", None)  # there is none with -p no:cacheprovider
    return Releases(cache.mkdir("releases") if cache else tmp_path_factory.mktemp("releases"))


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Service]:
    """An S3 service that all tests of a process share, each with buckets of its own."""
    with s3_service() as service:
        yield service


@pytest.fixture
def bucket(s3: S3Service) -> Iterator[str]:
    """The bucket that the README's and the examples' code names."""
    with s3.bucket("bucket") as name:
        yield name


@pytest.fixture
def no_s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment that knows of no service of AWS's, nor of W&B."""
    for name in list(os.environ):
        if name.startswith(("WANDB_", "AWS_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))  # no credentials of whoever runs the tests
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_CONSOLE", "off")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def use(no_s3: None, monkeypatch: pytest.MonkeyPatch, s3: S3Service) -> S3Service:  # noqa: ARG001
    """The S3 service, with an environment that leads to it."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    return s3


@pytest.fixture(scope="session", params=RELEASES)
def release(request: pytest.FixtureRequest, releases: Releases) -> Path:
    """A directory that holds Ultralytics as it was released."""
    return releases.ultralytics(request.param)


@pytest.fixture(scope="session")
def patch(releases: Releases, tmp_path_factory: pytest.TempPathFactory) -> Patch:
    known: dict[Path, Path] = {}

    def make(release: Path) -> Path:
        if release not in known:
            known[release] = folder = tmp_path_factory.mktemp("patched")
            shutil.copytree(release / "ultralytics", folder / "ultralytics")
            done = run_command(folder, "patch", "apply", timeout=400, PYTHONPATH=releases.path(folder))
            assert done.returncode == 0, done.stderr
        return known[release]

    return make


@pytest.fixture(scope="session")
def run_job(tmp_path_factory: pytest.TempPathFactory, shapes: Path) -> RunJob:
    def run(script: str, *arguments: str, check: bool = True, prelude: str = "", **env: str) -> Job:
        directory = tmp_path_factory.mktemp("job")
        file = script_file(script, directory, prelude)
        environment = scenario_environment(directory, shapes, env)
        return run_in(directory, [sys.executable, str(file), *arguments], environment, check=check)

    return run


@pytest.fixture(scope="session")
def launch_agents(tmp_path_factory: pytest.TempPathFactory, shapes: Path) -> LaunchAgents:
    def launch(script: str, *words: str, nodes: int = 1, processes: int = 2, apart: str = "", **env: str) -> Job:
        directory = tmp_path_factory.mktemp("job")
        file = script_file(script, directory)
        port = find_free_port()
        outputs = [directory / f"agent-{node}.log" for node in range(nodes)]
        agents = []
        for node, output in enumerate(outputs):
            command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", str(nodes), "--node_rank", str(node)]
            command += ["--nproc_per_node", str(processes), "--master_addr", "127.0.0.1", "--master_port", str(port)]
            command += [str(file), *words]
            if apart and node:
                old = f"mkdir -p {apart}/train/weights; echo old > {apart}/train/weights/best.pt"
                inside = f"mkdir -p {apart}; mount -t tmpfs tmpfs {apart}; {old}; {shlex.join(command)}; code=$?"
                command = ["unshare", "-m", "sh", "-c", f"{inside}; cp -r {apart} {apart}-{node}; exit $code"]
            with output.open("wb") as target:
                agents.append(
                    subprocess.Popen(
                        command,
                        cwd=directory,
                        env=scenario_environment(directory, shapes, env),
                        stdin=subprocess.DEVNULL,
                        stdout=target,
                        stderr=subprocess.STDOUT,
                    )
                )
        try:
            codes = [agent.wait(timeout=540) for agent in agents]
        finally:
            for agent in agents:
                agent.kill()
        return Job(directory, max(codes, key=abs), "".join(output.read_text(errors="replace") for output in outputs))

    return launch


@pytest.fixture(scope="session")
def run_online(run_job: RunJob) -> RunOnline:
    def run(
        script: str, *arguments: str, count_lag: float = 0.0, check: bool = True, **env: str
    ) -> tuple[Job, WandbServer]:
        with WandbServer() as server:
            server.backend.count_lag = count_lag
            job = run_job(script, *arguments, check=check, **{**server.environment, **env})
            wait_until_closed(server)
        return job, server

    return run


@pytest.fixture(scope="session")
def usage_c(run_job: RunJob, tmp_path_factory: pytest.TempPathFactory, testrun_uid: str) -> Job:
    """A training in two processes with the callbacks registered by hand and no run of the launcher's.

    It is run once, for all processes that the tests run in.
    """
    record = tmp_path_factory.getbasetemp().parent / f"usage-c-{testrun_uid}.json"
    with FileLock(record.with_suffix(".lock")):
        if not record.exists():
            job = run_job("training.py", "callbacks_by_hand")
            record.write_text(json.dumps([str(job.directory), job.exit_code, job.output]))
        directory, exit_code, output = json.loads(record.read_text())
    return Job(Path(directory), exit_code, output)
