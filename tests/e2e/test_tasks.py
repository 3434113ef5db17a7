"""Every task, and another family of models, is trained on generated shapes and logged."""

from __future__ import annotations

import pytest

from support.jobs import NIGHTLY, Job, RunJob
from ultralytics_wb_ddp.testing.shapes_dataset import TASKS

pytestmark = NIGHTLY
SCENARIO = "tasks.py"
BOXES = {"train/box_loss", "train/cls_loss", "val/box_loss", "metrics/mAP50(B)", "curves/F1-Confidence(B)_table"}
LOGGED = {  # by task: the keys that it is known by
    "detect": BOXES | {"train/dfl_loss"},
    "segment": BOXES | {"train/seg_loss", "val/seg_loss", "metrics/mAP50(M)", "curves/F1-Confidence(M)_table"},
    "pose": BOXES | {"train/pose_loss", "val/kobj_loss", "metrics/mAP50(P)", "curves/F1-Confidence(P)_table"},
    "obb": BOXES | {"train/angle_loss", "val/angle_loss"},
    "classify": {"train/loss", "val/loss", "metrics/accuracy_top1", "metrics/accuracy_top5"},
}


@pytest.fixture(scope="module")
def tasks(run_job: RunJob) -> Job:
    """A training of each task, one after the other in one process."""
    return run_job(SCENARIO, "train_tasks", *TASKS)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_trains_on_shapes_and_is_logged(tasks: Job, task: str) -> None:
    (run,) = [run for run in tasks.runs if run.name == task]
    keys = {key for row in run.history for key in row}

    assert run.state == "finished"
    assert "could not be logged" not in tasks.output
    assert [row["epoch"] for row in run.history] == [1, 1, 1]
    assert LOGGED[task] | {"lr/pg0", "model/parameters", "results", "per_class_metrics"} <= keys
    (table,) = (row["mistakes"] for row in run.rows("mistakes"))
    assert 1 <= table["nrows"] <= 2, "images of the validation set"


def test_any_trainer_trains_in_several_cpu_processes_and_is_logged(run_job: RunJob) -> None:
    run = run_job(SCENARIO, "train_another_family").run

    assert (run.state, run.exit_code) == ("finished", 0)
    first, *rest = run.history
    assert {"train/giou_loss", "val/l1_loss", "metrics/mAP50(B)", "ranks/1/loss"} <= first.keys()
    assert [row["epoch"] for row in rest] == [1, 1]
