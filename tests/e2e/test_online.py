"""The life of a run online, and its API key, which no file, log, pickle, argument list or request shows.

The real client logs to a W&B backend on loopback that counts rows late, as W&B does.
"""

from __future__ import annotations

from typing import Any

import pytest
from wandb_server import API_KEY, WandbServer

from support.jobs import NIGHTLY, Job, RunOnline
from support.measures import assert_is_one_whole_run

COMPLETE: dict[str, Any] = {"epochs": [1, 2, 2, 2], "state": "finished", "exit_code": 0}


@pytest.fixture(scope="module")
def closed(run_online: RunOnline) -> tuple[Job, WandbServer]:
    """A training whose run is closed before it, and whose config holds the API key."""
    parts = API_KEY[:20], API_KEY[20:]  # no argument list holds the key
    return run_online("online.py", "close_and_take_back", *parts, count_lag=4.0, WANDB_API_KEY="")


def test_managers_run_is_closed_continued_by_rank_0_and_taken_back(closed: tuple[Job, WandbServer]) -> None:
    _, server = closed

    run = assert_is_one_whole_run("none: closed, resumed, taken back; counts 4 s late", server, **COMPLETE)
    assert [row.get("epoch") for row in run.history] == [None, None, None, 1, 2, 2, 2, None]
    assert run.sessions == 3
    assert (run.fields["displayName"], run.fields["groupName"]) == ("my-training", "exp-1")
    assert (run.fields["tags"], run.fields["notes"], run.fields["jobType"]) == (
        ["baseline"],
        "what it is about",
        "train",
    )
    assert run.summary["val/box_loss"] == {
        "min": min(row["val/box_loss"] for row in run.history if "val/box_loss" in row)
    }
    assert run.summary["metrics/mAP50-95(B)"].keys() == {"max"}
    assert run.summary["best/epoch"] in (1, 2)
    by_epoch = {f"{prefix}/*": "epoch" for prefix in ("train", "lr", "metrics", "val", "ranks")}
    assert run.metrics == {**by_epoch, "batch/*": "batch"}
    assert (run.values["epochs"], run.values["ultralytics"]) == (99, {"epochs": 2})
    assert run.values["imgsz"] == 64
    assert "configs/training-job-config.yaml" in run.files
    assert [artifact.type for artifact in run.artifacts if artifact.type == "model"] == ["model"]
    assert {artifact.name for artifact in run.used_artifacts} == {"dataset_shapes0", "training_config"}


@NIGHTLY
def test_run_that_stays_open_is_attached_to(run_online: RunOnline) -> None:
    _, server = run_online("continuing.py", "forget_to_prepare")

    run = assert_is_one_whole_run("none: attached to", server, **COMPLETE)
    assert [row.get("epoch") for row in run.history] == [None, 1, 2, 2, 2, None]
    assert run.sessions == 1
    assert "2 epochs completed" in run.console, "which a worker has printed"
    assert b"2 epochs completed" in run.file("output.log")
    assert {artifact.name for artifact in run.used_artifacts} == {"dataset_shapes0", "training_config"}


@NIGHTLY
def test_failed_training_of_a_closed_run_ends_in_a_failed_run(run_online: RunOnline) -> None:
    job, server = run_online("online.py", "fail_with_closed_run", check=False)

    assert "CalledProcessError" in job.output
    run = assert_is_one_whole_run(
        "exception in rank 0, run closed and resumed", server, epochs=[1], state="failed", exit_code=1
    )
    assert run.sessions == 2, "the worker has recorded the failure, nobody opens the run for it again"


# The key


def test_server_gets_the_key_for_authorisation_only(closed: tuple[Job, WandbServer]) -> None:
    _, server = closed

    assert len(server.received) > 20
    assert [request[:100] for request in server.received if API_KEY.encode() in request] == []


def test_no_file_holds_the_key(closed: tuple[Job, WandbServer]) -> None:
    job, _ = closed
    files = [file for file in job.directory.rglob("*") if file.is_file()]

    assert any(file.suffix == ".wandb" for file in files)
    assert any("_temp_" in file.name for file in files if "collected" in file.parts), "the launch's own files"
    assert [file for file in files if API_KEY.encode() in file.read_bytes()] == []


def test_no_log_holds_the_key(closed: tuple[Job, WandbServer]) -> None:
    job, _ = closed

    assert "[redacted]" in job.output
    assert API_KEY not in job.output
