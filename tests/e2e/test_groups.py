"""Folds and repetitions as one story: a run each, and one with their statistics."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from wandb_server import WandbServer
from wandb_server.store import StoredRun

from support.jobs import NIGHTLY, Job, RunOnline, job_environment
from support.paths import EXAMPLES
from ultralytics_wb_ddp.wandb_client.run_file import find_run_files, read_run

EXAMPLE = EXAMPLES / "kfold.py"


SCORES = [1.0, 2.0, 4.0]


@pytest.fixture(scope="module", params=["one", pytest.param("two", marks=NIGHTLY)])
def interrupted(run_online: RunOnline, request: pytest.FixtureRequest) -> tuple[Job, WandbServer]:
    """A group that was interrupted; its last fold trains in so many processes."""
    return run_online("cross_validation.py", "interrupted", request.param)


def run_of(server: WandbServer, run_id: str) -> StoredRun:
    return server.backend.runs[run_id]


def table_of(run: StoredRun) -> list[dict[str, Any]]:
    name = [name for name in run.files if name.startswith("media/table/runs")][-1]
    content = json.loads(run.file(name))
    return [dict(zip(content["columns"], row)) for row in content["data"]]


def test_group_has_a_run_for_each_fold_and_a_summary(interrupted: tuple[Job, WandbServer]) -> None:
    _, server = interrupted

    assert {run.id: (run.fields["groupName"], run.fields["jobType"], run.state) for run in server.runs} == {
        "cv-fold-0": ("cv", "fold", "finished"),
        "cv-fold-1": ("cv", "fold", "finished"),
        "cv-fold-2": ("cv", "fold", "finished"),
        "cv-summary": ("cv", "summary", "finished"),
    }


def test_fold_that_fails_ends_the_group_unless_the_user_goes_on(interrupted: tuple[Job, WandbServer]) -> None:
    job, _ = interrupted

    assert "the user gets: RuntimeError fold 1 fails" in job.output
    assert "group 'cv': 1 of 3 trainings counted" in job.output


def test_name_of_a_finished_group_is_not_taken_again_by_mistake(interrupted: tuple[Job, WandbServer]) -> None:
    job, _ = interrupted

    message = "group 'cv' has finished runs (cv-fold-0); give resume=True to keep them, or another name"
    assert f"the user gets: ConfigurationError {message}" in job.output


def test_folds_that_have_finished_are_not_trained_again(interrupted: tuple[Job, WandbServer]) -> None:
    job, server = interrupted

    assert "group 'cv': fold 0 finished earlier and is not trained again" in job.output
    assert [run_of(server, f"cv-fold-{fold}").sessions for fold in range(3)] == [1, 2, 3]
    assert [len(run_of(server, f"cv-fold-{fold}").history) for fold in range(3)] == [3, 3, 3]


def test_summary_holds_mean_and_sample_standard_deviation(interrupted: tuple[Job, WandbServer]) -> None:
    job, server = interrupted
    summary = run_of(server, "cv-summary").summary

    mean, std = statistics.fmean(SCORES), statistics.stdev(SCORES)
    assert summary["score"] == {"n": 3, "mean": pytest.approx(mean), "std": pytest.approx(std), "min": 1, "max": 4}
    assert (summary["runs/planned"], summary["runs/counted"]) == (3, 3)
    assert summary["metrics/mAP50(B)"]["n"] == 3
    assert "score: 2.333 ± 1.5 [0, 1, 2]" in job.output


def test_metrics_are_those_of_the_last_evaluation(interrupted: tuple[Job, WandbServer]) -> None:
    _, server = interrupted

    for fold, row in enumerate(table_of(run_of(server, "cv-summary"))):
        run = run_of(server, f"cv-fold-{fold}")
        last = [row for row in run.history if "metrics/mAP50(B)" in row][-1]
        expected = {name: value for name, value in last.items() if name.startswith("metrics/")}
        assert {name: row[name] for name in expected} == expected
        assert (row["fold"], row["run"], row["state"], row["counted"]) == (fold, run.id, "finished", True)
        assert row["score"] == SCORES[fold]


def test_links_lead_to_group_and_summary(interrupted: tuple[Job, WandbServer]) -> None:
    job, server = interrupted

    assert f"links: {server.url}/team/demo/groups/cv {server.url}/team/demo/runs/cv-summary" in job.output


@NIGHTLY
def test_example_cross_validates_offline_and_goes_on(tmp_path: Path, shapes: Path) -> None:
    for folder in ("home", "yolo"):
        (tmp_path / folder).mkdir()
    for trainings in (2, 0):  # the second time there is nothing left to do
        done = subprocess.run(
            [sys.executable, EXAMPLE, "--cpu"],
            cwd=tmp_path,
            env=job_environment(tmp_path, shapes),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count("Starting training for") == trainings
        assert "metrics/mAP50(B): " in done.stdout
    runs = [read_run(file) for file in find_run_files(tmp_path)]
    assert [(run.id, run.job_type) for run in runs] == [
        ("2-fold-fold-0", "fold"),
        ("2-fold-fold-1", "fold"),
        ("2-fold-summary", "summary"),
        ("2-fold-summary", "summary"),
    ]
    assert runs[-1].summary["runs/counted"] == 2
