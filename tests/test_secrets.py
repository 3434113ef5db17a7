"""The API key never appears in anything that reaches the server, a file, a pickle, an argument list or a log."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from wandb_server import WandbServer

from support.jobs import ONLINE, Job, RunJob

# Collects, in rank 0 while the training runs, the start files and pickles of the launch, which are deleted afterwards,
# and the argument lists of all processes of the job.
COLLECTS = """
import cloudpickle, pathlib, psutil
def collect(trainer):
    if os.environ["RANK"] == "0":
        target = pathlib.Path("collected")
        target.mkdir()
        for number, file in enumerate(pathlib.Path(os.environ["YOLO_CONFIG_DIR"]).rglob("*")):
            if file.is_file():
                (target / f"{number}-{file.name}").write_bytes(file.read_bytes())
        words = [word for process in psutil.process_iter(["cmdline"]) for word in process.info["cmdline"] or ()]
        (target / "arguments").write_text("\\n".join(words))
model.add_callback("on_train_start", collect)
"""


@pytest.fixture(scope="module")
def job_and_server(run_job: RunJob) -> tuple[Job, WandbServer]:
    with WandbServer() as server:
        key = server.environment["WANDB_API_KEY"]
        script = f"""
cfg = {{"wandb": {{"project": "demo", "mode": "online", "api_key": open("key").read().strip()}}, "nested": ["{key[:20]}" + "{key[20:]}"]}}
os.remove("key")
with WandbManager(cfg, "job") as manager:
    print(manager.config)
    manager.save_config(cfg)
    manager.save_training_job_metadata(cfg)
    pathlib.Path("manager.pickle").write_bytes(cloudpickle.dumps(add_wandb_callback(model)))
    manager.prepare_for_training()
    model.train(**TWO_PROCESSES)
    manager.resume_after_training()
"""
        write_key = f"open('key', 'w').write({key[:20]!r} + {key[20:]!r})\n"
        environment = {**server.environment, "WANDB_API_KEY": ""}
        job = run_job(ONLINE + COLLECTS + write_key + script, **environment)
    return job, server


def key_of(server: WandbServer) -> bytes:
    return server.environment["WANDB_API_KEY"].encode()


def test_server_gets_the_key_for_authorisation_only(job_and_server: tuple[Job, WandbServer]) -> None:
    _, server = job_and_server

    assert len(server.received) > 20
    assert [request[:100] for request in server.received if key_of(server) in request] == []


def test_no_file_holds_the_key(job_and_server: tuple[Job, WandbServer]) -> None:
    job, server = job_and_server
    files = [file for file in Path(job.directory).rglob("*") if file.is_file()]

    assert any(file.suffix == ".wandb" for file in files)
    assert any("_temp_" in file.name for file in files if "collected" in file.parts), "the launch's own files"
    assert [file for file in files if key_of(server) in file.read_bytes()] == []


def test_no_log_holds_the_key(job_and_server: tuple[Job, WandbServer]) -> None:
    job, server = job_and_server

    assert "[redacted]" in job.output
    assert key_of(server).decode() not in job.output


# Prints what ``help()`` says of each module, of the signatures in it and their defaults.
HELP = """
import importlib, pkgutil, pydoc
import ultralytics_wb_ddp
for info in pkgutil.walk_packages(ultralytics_wb_ddp.__path__, "ultralytics_wb_ddp."):
    if not info.name.endswith("__main__"):
        print(pydoc.plaintext.document(importlib.import_module(info.name)))
"""


def test_help_of_the_package_does_not_show_the_environment() -> None:
    key = "0123456789abcdef" * 3
    environment = {**os.environ, "WANDB_API_KEY": key}
    said = subprocess.run(
        [sys.executable, "-c", HELP], env=environment, check=True, capture_output=True, text=True
    ).stdout

    assert "is_main_process(" in said
    assert key not in said
