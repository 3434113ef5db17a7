"""Folds and repetitions as one story: a run each, and one with their statistics."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # carries no types
from wandb_server import WandbServer
from wandb_server.store import StoredRun

from support.jobs import NIGHTLY, Job, RunOnline, job_environment
from support.paths import EXAMPLES
from ultralytics_wb_ddp import ConfigurationError, Statistics, WandbManager, kfold
from ultralytics_wb_ddp.cross_validation.results import select_metrics
from ultralytics_wb_ddp.testing.shapes_dataset import make_shapes_dataset
from ultralytics_wb_ddp.wandb_client.run_file import find_run_files, read_run

CFG = {"wandb": {"project": "demo", "mode": "offline"}}
EXAMPLE = EXAMPLES / "kfold.py"
SCORES = [1.0, 2.0, 4.0]

# Fold 1 fails when it is trained first; started again, the group trains it alone.
INTERRUPTED = f"""\
def start(**options):
    with WandbManager.group(CFG, "cv", runs=3, metrics=["metrics/*", "score"], **options) as group:
        for fold, manager in group:
            with manager:
                model = YOLO(os.environ["MODEL"])
                add_wandb_callback(model)
                if fold == 2:
                    manager.prepare_for_training()
                if fold == 1 and not options:
                    raise RuntimeError("fold 1 fails")
                arguments = TWO_PROCESSES if fold == 2 else ONE_PROCESS
                model.train(**{{**arguments, "epochs": 1, "name": f"fold-{{fold}}"}})
                manager.resume_after_training()
                manager.run.summary["score"] = {SCORES}[fold]
    return group

for options in {{}}, {{}}, {{"resume": True}}:
    try:
        group = start(**options)
    except Exception as error:
        print("the user gets:", type(error).__name__, error)
print("score:", group.statistics["score"], sorted(group.results))
print("links:", group.links().group, group.links().run)
assert not [name for name in os.environ if name.startswith("WANDB_RUN")]
"""


@pytest.fixture(scope="module")
def interrupted(run_online: RunOnline) -> tuple[Job, WandbServer]:
    return run_online(INTERRUPTED)


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


@pytest.mark.parametrize(
    ("wandb", "arguments", "message"),
    [
        ({}, {"runs": 0}, "runs=0: the number of trainings, 1 or more"),
        ({}, {"runs": True}, "runs=True: the number of trainings"),
        ({"id": "x"}, {"runs": 2}, "cfg.wandb.id='x' cannot be the id of all runs of group 'cv'"),
        ({"group": "x"}, {"runs": 2}, "cfg.wandb.group='x', but the group is called 'cv'"),
        ({}, {"runs": 2, "job_type": "summary"}, "job_type='summary' is that of the run with the statistics"),
        ({}, {"runs": 2, "job_type": "a/b"}, "W&B refuses / in a run id"),
    ],
)
def test_group_that_cannot_be_is_refused(wandb: dict[str, Any], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message.replace("(", r"\(")):
        WandbManager.group({"wandb": {"project": "demo", **wandb}}, "cv", **arguments)


def test_processes_of_torchrun_cannot_agree_on_what_is_left_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")

    with pytest.raises(ConfigurationError, match="resume=True in 2 processes"):
        WandbManager.group(CFG, "cv", 2, resume=True)


def test_group_outside_of_a_with_statement_is_refused() -> None:
    with pytest.raises(RuntimeError, match="group 'cv' is used in a with statement"):
        next(iter(WandbManager.group(CFG, "cv", 2)))


def test_statistics_of_one_training_have_no_deviation() -> None:
    assert Statistics.of([0.5]) == Statistics(1, 0.5, None, 0.5, 0.5)
    assert str(Statistics.of([0.5])) == "0.5"


def test_numbers_of_a_summary_that_are_metrics() -> None:
    summary = {
        "metrics/mAP50(B)": {"max": 0.9},
        "final/metrics/mAP50(B)": 0.8,
        "metrics/recall(B)": 0.7,
        "metrics/nan": math.nan,
        "mine": 1,
        "metrics/flag": True,
        "train/box_loss": 1.0,
    }

    assert select_metrics(summary, ("metrics/*", "mine")) == {
        "metrics/recall(B)": 0.7,
        "mine": 1.0,
        "metrics/mAP50(B)": 0.8,
    }


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    return make_shapes_dataset(tmp_path / "shapes", images=20, classes=2)


def lists(file: Path) -> dict[str, list[str]]:
    content = yaml.safe_load(file.read_text())
    return {split: Path(content[split]).read_text().splitlines() for split in ("train", "val")}


def test_each_image_is_validated_on_once_and_classes_are_spread_evenly(data: Path, tmp_path: Path) -> None:
    folds = [lists(file) for file in kfold(data, 5, tmp_path / "folds")]

    assert Counter(image for fold in folds for image in fold["val"]) == Counter(
        str(file) for file in (data.parent / "images").rglob("*.png")
    )
    for fold in folds:
        assert len(fold["train"]) == 16
        assert not set(fold["train"]) & set(fold["val"])
        numbers = Counter(int(Path(image).stem) % 2 for image in fold["val"])  # the class of a shape
        assert numbers == {0: 2, 1: 2}


def test_same_seed_gives_the_same_folds(data: Path, tmp_path: Path) -> None:
    first, again, other = (
        [lists(file) for file in kfold(data, 4, tmp_path / name, seed=seed)]
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )

    assert first == again != other


@pytest.mark.parametrize("folds", [1, 21])
def test_folds_that_are_too_few_or_too_many(data: Path, tmp_path: Path, folds: int) -> None:
    with pytest.raises(ConfigurationError, match=f"folds={folds}: from 2 to 20, the number of images"):
        kfold(data, folds, tmp_path / "folds")
    assert not os.path.exists(tmp_path / "folds")  # noqa: PTH110
