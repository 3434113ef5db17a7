"""The file by which a training names its run, for the day when it is resumed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from ultralytics_wb_ddp.runs.run_record import RunRecord, best_values


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A training's directory with a record and a checkpoint."""
    RunRecord("abc", "demo", "team", next_step=4, best={"metrics/mAP50(B)": 0.5}, best_epoch=2).save(tmp_path)
    (tmp_path / "weights/last.pt").write_bytes(b"")
    return tmp_path


def test_training_directory_names_its_run(trained: Path, tmp_path: Path) -> None:
    record = RunRecord.find(trained, None)

    assert record
    assert (record.id, record.project, record.entity) == ("abc", "demo", "team")
    assert (record.next_step, record.best_epoch, record.best) == (4, 2, {"metrics/mAP50(B)": 0.5})
    assert RunRecord.find(tmp_path / "other", None) is None


def test_checkpoints_that_were_moved_name_their_run(trained: Path, tmp_path: Path) -> None:
    weights = (trained / "weights").rename(tmp_path / "elsewhere")

    record = RunRecord.find(tmp_path / "gone", str(weights / "last.pt"))

    assert record
    assert record.id == "abc"


def test_checkpoint_that_lies_here_comes_before_the_directory_it_was_made_in(trained: Path, tmp_path: Path) -> None:
    RunRecord("other").save(tmp_path / "made-in")

    record = RunRecord.find(tmp_path / "made-in", trained / "weights/last.pt")

    assert record
    assert record.id == "abc"


def test_damaged_record_gives_way_to_the_folder_of_the_stock_callback(tmp_path: Path) -> None:
    for run_id in ("old", "train_20260101_120000"):
        file = tmp_path / "wandb" / f"offline-run-20260101_120000-{run_id}" / f"run-{run_id}.wandb"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"")
        file.touch()
    (tmp_path / "wandb_run.json").write_text("{half a rec")
    (tmp_path / "part").mkdir()
    (tmp_path / "part/wandb_run.json").write_text('{"id": "abc", "links": null, "trains": {"pid": 1}}')

    record = RunRecord.find(tmp_path, None)

    assert record
    assert record.id == "train_20260101_120000"
    part = RunRecord.find(tmp_path / "part", None)
    assert part
    assert (part.links, part.live_training_pid()) == ({}, None)


def test_record_is_never_seen_half_written(trained: Path) -> None:
    assert sorted(file.name for file in trained.iterdir()) == ["wandb_run.json", "weights"]
    assert json.loads((trained / "wandb_run.json").read_text()) == json.loads(
        (trained / "weights/wandb_run.json").read_text()
    )


def test_session_that_was_killed_may_have_left_rows_unsent(trained: Path) -> None:
    record = RunRecord.find(trained, None)
    assert record
    assert not record.handoff().is_complete
    assert record.handoff().closed_at == pytest.approx(time.time(), abs=5)

    record.save(trained, exit_code=0)
    closed = RunRecord.find(trained, None)
    assert closed
    assert closed.handoff().is_complete


def test_closed_training_has_no_process(trained: Path) -> None:
    record = RunRecord.of_run(SimpleNamespace(id="abc", project="", entity="", offline=True), None, {})
    record.save(trained, exit_code=0)

    closed = RunRecord.find(trained, None)
    assert closed
    assert closed.trains is None


def test_best_of_an_earlier_session_is_kept_in_the_summary() -> None:
    record = RunRecord("abc", best={"metrics/mAP50(B)": 0.9, "val/box_loss": 1.0})
    record.previous_best = dict(record.best)
    run = SimpleNamespace(step=1, starting_step=0)

    summary = record.update_best(run, {"metrics/mAP50(B)": 0.5, "val/box_loss": 0.7, "lr/pg0": 0.1, "epoch": 3})
    assert summary == {"metrics/mAP50(B)": {"max": 0.9}, "val/box_loss": {"min": 0.7}}
    assert record.best == {"metrics/mAP50(B)": 0.9, "val/box_loss": 0.7}

    assert record.update_best(run, {"metrics/mAP50(B)": 0.95, "val/box_loss": float("nan")}) == {
        "metrics/mAP50(B)": {"max": 0.95}  # a key that was in the summary once is given again
    }


def test_best_values_are_read_from_a_summary() -> None:
    summary = {"metrics/mAP50(B)": {"max": 0.9}, "val/box_loss": {"min": 1.0}, "epoch": 3, "mine": {"max": 1}}

    assert best_values(summary) == {"metrics/mAP50(B)": 0.9, "val/box_loss": 1.0}
