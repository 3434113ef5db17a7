"""Jobs for the tests: scripts as users write them, run in a process of their own, and the runs that they leave."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import measures
import pytest
from filelock import FileLock
from releases import RELEASES, Releases
from s3_service import S3Service, s3_service
from wandb_server import WandbServer

from ultralytics_wb_ddp.distributed.parallel_config import find_free_port
from ultralytics_wb_ddp.testing.shapes_dataset import make_shapes_dataset
from ultralytics_wb_ddp.wandb_client.run_file import RecordedRun, find_run_files, read_run

PRELUDE = """\
import os, sys
from ultralytics import YOLO
from ultralytics_wb_ddp import WandbManager, add_wandb_callback, callbacks
from ultralytics_wb_ddp.testing.cpu_trainers import CpuDDPTrainer

CFG = {"wandb": {"project": "demo", "mode": "offline"}}
SETTINGS = dict(data=os.environ["DATA"], epochs=2, imgsz=64, batch=8, workers=0, plots=False, deterministic=False)
SETTINGS.update(project=os.getcwd(), name="train")
TWO_PROCESSES = dict(SETTINGS, trainer=CpuDDPTrainer, device="0,1")
ONE_PROCESS = dict(SETTINGS, device="cpu")
model = YOLO(os.environ["MODEL"])
"""

# Notes in each worker, at the end of its training, what was loaded and started in it.
WITNESS = """
def note_what_this_rank_has(trainer):
    import json, psutil
    processes = [process.name() for process in psutil.Process().children(recursive=True)]
    facts = {"wandb": "wandb" in sys.modules, "processes": processes}
    open(f"rank-{os.environ['RANK']}.json", "w").write(json.dumps(facts))

model.add_callback("teardown", note_what_this_rank_has)
"""

# A training that fails in its second epoch.
INTERRUPTED = """
def interrupt(trainer):
    if trainer.epoch == 1:
        raise InterruptedError
model.add_callback("on_train_epoch_start", interrupt)
try:
    model.train(**ONE_PROCESS)
except InterruptedError:
    pass
"""

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


# The files that take longest, a minute or more of one core each: with them begins what is to end at the same time.
LONGEST_FIRST = [
    "test_chaos",
    "test_readme",
    "test_ddp",
    "test_true_state",
    "test_outages",
    "test_run_modes",
    "test_training",
    "test_matrix",
    "test_interrupted_trainings",
    "test_sweeps",
    "test_testing",
    "test_checkpoints",
    "test_mistakes",
    "test_jobs",
    "test_doctor",
    "test_callback",
    "test_many_trainings",
    "test_parity",
    "test_flyte",
    "test_inputs",
    "test_restore",
    "test_examples",
    "test_groups",
    "test_online",
    "test_rank_metrics",
    "test_secrets",
    "test_backfill",
    "test_continuing",
    "test_patched_trainings",
    "test_manager",
    "test_stock",
    "test_wandb_server",
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


class RunJob(Protocol):
    """Runs a script after :data:`PRELUDE` and returns how it went; it must succeed unless ``check`` is false."""

    def __call__(self, script: str, *, check: bool = True, prelude: str = PRELUDE, **env: str) -> Job:
        """Keyword arguments besides are environment variables."""


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
        "MODEL": str(Path(__file__).with_name("tiny.yaml")),
        "HOME": str(directory / "home"),  # no netrc, no settings of whoever runs the tests
        "OMP_NUM_THREADS": "1",
        "YOLO_CONFIG_DIR": str(directory / "yolo"),
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


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
        timeout=300,
        check=False,
    )
    assert not check or process.returncode == 0, process.stdout[-5000:]
    return Job(directory, process.returncode, process.stdout)


@pytest.fixture(autouse=True)
def _no_wandb_core_is_left_to_the_next_test() -> Iterator[None]:
    """Forget the wandb-core that a test of this process has used: after ten idle minutes it ends by itself."""
    yield
    os.environ.pop("WANDB_SERVICE", None)


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


class Patch(Protocol):
    """Returns a copy of a release of Ultralytics that the command has patched."""

    def __call__(self, release: Path) -> Path: ...


@pytest.fixture(scope="session")
def patch(releases: Releases, tmp_path_factory: pytest.TempPathFactory) -> Patch:
    known: dict[Path, Path] = {}

    def make(release: Path) -> Path:
        if release not in known:
            known[release] = folder = tmp_path_factory.mktemp("patched")
            shutil.copytree(release / "ultralytics", folder / "ultralytics")
            done = run_command(folder, "patch", "apply", timeout=120, PYTHONPATH=releases.path(folder))
            assert done.returncode == 0, done.stderr
        return known[release]

    return make


@pytest.fixture(scope="session")
def run_job(tmp_path_factory: pytest.TempPathFactory, shapes: Path) -> RunJob:
    def run(script: str, *, check: bool = True, prelude: str = PRELUDE, **env: str) -> Job:
        directory = tmp_path_factory.mktemp("job")
        for folder in ("home", "yolo"):
            (directory / folder).mkdir()
        file = directory / "job.py"
        file.write_text(prelude + textwrap.dedent(script), encoding="utf-8")
        return run_in(
            directory, [sys.executable, str(file)], {**job_environment(directory, shapes), **env}, check=check
        )

    return run


class LaunchAgents(Protocol):
    """Runs a script under torchrun, with an agent for each node, all on this machine."""

    def __call__(
        self, script: str, *words: str, nodes: int = 1, processes: int = 2, apart: str = "", **env: str
    ) -> Job:
        """Run a script; ``apart`` is a directory of which each further node has its own, with an old checkpoint."""


@pytest.fixture(scope="session")
def launch_agents(tmp_path_factory: pytest.TempPathFactory, shapes: Path) -> LaunchAgents:
    def launch(script: str, *words: str, nodes: int = 1, processes: int = 2, apart: str = "", **env: str) -> Job:
        directory = tmp_path_factory.mktemp("job")
        for folder in ("home", "yolo"):
            (directory / folder).mkdir()
        file = directory / "job.py"
        file.write_text(script, encoding="utf-8")
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
                        env={**job_environment(directory, shapes), **env},
                        stdin=subprocess.DEVNULL,
                        stdout=target,
                        stderr=subprocess.STDOUT,
                    )
                )
        try:
            codes = [agent.wait(timeout=300) for agent in agents]
        finally:
            for agent in agents:
                agent.kill()
        return Job(directory, max(codes, key=abs), "".join(output.read_text(errors="replace") for output in outputs))

    return launch


NIGHTLY = pytest.mark.nightly  # of cases whose like is tried in every run: a training takes ten seconds of two cores
ONLINE = "CFG['wandb']['mode'] = 'online'\n"


class RunOnline(Protocol):
    """Runs a script online and returns it with the backend, which has nothing left to wait for."""

    def __call__(
        self, script: str, *, count_lag: float = 0.0, check: bool = True, **env: str
    ) -> tuple[Job, WandbServer]:
        """Keyword arguments besides are environment variables."""


@pytest.fixture(scope="session")
def run_online(run_job: RunJob) -> RunOnline:
    def run(script: str, *, count_lag: float = 0.0, check: bool = True, **env: str) -> tuple[Job, WandbServer]:
        with WandbServer() as server:
            server.backend.count_lag = count_lag
            job = run_job(ONLINE + textwrap.dedent(script), check=check, **{**server.environment, **env})
            wait_until_closed(server)
        return job, server

    return run


def wait_until_closed(server: WandbServer, timeout: float = 20.0) -> None:
    """Wait for what the processes beside killed workers still have to send."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline and any(run.exit_code is None for run in server.runs):
        time.sleep(0.1)


@pytest.fixture(scope="session")
def usage_c(run_job: RunJob, tmp_path_factory: pytest.TempPathFactory, testrun_uid: str) -> Job:
    """A training in two processes with the callbacks registered by hand and no run of the launcher's.

    It is run once, for all processes that the tests run in.
    """
    record = tmp_path_factory.getbasetemp().parent / f"usage-c-{testrun_uid}.json"
    with FileLock(record.with_suffix(".lock")):
        if not record.exists():
            job = run_job(
                WITNESS
                + """\
for event, function in callbacks.items():
    model.add_callback(event, function)
model.train(**{**TWO_PROCESSES, "plots": True})
"""
            )
            record.write_text(json.dumps([str(job.directory), job.exit_code, job.output]))
        directory, exit_code, output = json.loads(record.read_text())
    return Job(Path(directory), exit_code, output)
