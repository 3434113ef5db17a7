"""The runs of trainings that are over, and that were killed before the end of their run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import wandb

from ultralytics_wb_ddp import TrainingState
from ultralytics_wb_ddp.jobs.run_job import run_job
from ultralytics_wb_ddp.runs.run_record import RunRecord
from ultralytics_wb_ddp.wandb_client.run_file import RecordedRun, find_run_files, read_run

STRIPPED = {
    "epoch": -1,
    "optimizer": None,
    "train_args": {"epochs": 2},
    "train_metrics": {"metrics/mAP50(B)": 0.5, "val/box_loss": 0.75},  # of the last epoch
}
RESULTS = "epoch,train/box_loss,metrics/mAP50(B),val/box_loss\n1,3.0,0.25,1.0\n2,2.0,0.5,0.75\n"


pytestmark = pytest.mark.usefixtures("no_s3")


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a training of which one epoch is logged."""
    monkeypatch.chdir(tmp_path)
    directory = tmp_path / "runs/train"
    (directory / "weights").mkdir(parents=True)
    for name in ("best.pt", "last.pt"):
        torch.save(STRIPPED, directory / "weights" / name)
    (directory / "args.yaml").write_text("epochs: 2\n")
    (directory / "results.csv").write_text(RESULTS)
    RunRecord("abc", "demo", epoch=1, next_step=1, is_job_run=True).save(directory, exit_code=0)
    return directory


def recorded(directory: Path) -> RecordedRun:
    """Return the only session below a directory, when W&B's process has written it."""
    wandb.teardown()
    (file,) = find_run_files(directory)
    return read_run(file)


def test_run_of_a_job_that_was_killed_at_its_end_is_finished_once_and_nothing_is_trained(training: Path) -> None:
    job = {
        "wandb": {"project": "demo", "mode": "offline"},
        "model": str(training / "weights/last.pt"),
        "train": {"data": "coco8.yaml", "resume": True, "device": "cpu"},
    }

    first, second = run_job(job), run_job(job)

    run = recorded(Path.cwd())
    assert (first.trained, second.trained, first.run_id, second.run_id) == (False, False, "abc", "abc")
    assert (run.id, run.state, run.exit_code) == ("abc", "finished", 0)
    assert [row["epoch"] for row in run.rows("train/box_loss")] == [2]
    assert any("best" in artifact.aliases for artifact in run.artifacts)
    assert run.summary["final/metrics/mAP50(B)"] == 0.5


def test_checkpoint_that_is_half_written_is_not_logged(training: Path) -> None:
    best = training / "weights/best.pt"
    best.write_bytes(best.read_bytes()[:500])
    RunRecord("abc", "demo", epoch=1, next_step=1, best_epoch=1, is_job_run=True).save(training, exit_code=0)

    with pytest.raises(ValueError, match=r"best\.pt of epoch 1 is no complete checkpoint \(500 bytes\)"):
        TrainingState.of(training).finish_run(mode="offline", on_error="raise")

    run = recorded(training)
    assert [artifact for artifact in run.artifacts if artifact.type == "model"] == []
    assert (run.state, run.exit_code) == ("failed", 1)


@pytest.mark.parametrize(
    ("metrics", "epoch", "map50"),
    [
        ({"metrics/mAP50(B)": 0.25, "val/box_loss": 1.0}, 1, 0.25),
        ({"metrics/mAP50(B)": 0.5, "val/box_loss": 0.75}, 2, 0.5),
        ({}, None, None),
    ],
    ids=["first", "last", "unknown"],
)
def test_best_checkpoint_is_that_of_the_epoch_whose_metrics_it_holds(
    training: Path, metrics: dict[str, float], epoch: int | None, map50: float | None
) -> None:
    torch.save({**STRIPPED, "train_metrics": metrics}, training / "weights/best.pt")

    TrainingState.of(training).finish_run(mode="offline")

    run = recorded(training)
    (best,) = (artifact for artifact in run.artifacts if "best" in artifact.aliases)
    assert best.metadata["epoch"] == epoch
    assert best.metadata["metrics"] == ({"metrics/mAP50(B)": map50} if map50 else {})
    assert run.summary.get("best/epoch") == epoch
    assert run.summary.get("final/metrics/mAP50(B)") == map50
