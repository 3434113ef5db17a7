"""The doctor's check that a finished run holds the best checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ultralytics_wb_ddp.config.names import model_collection
from ultralytics_wb_ddp.doctor.past_training_checks import _check_checkpoint
from ultralytics_wb_ddp.wandb_client.run_file import RecordedArtifact, RecordedRun

ODD_ID = "größe lr=0.01 " + "x" * 114
FINISHED = RecordedRun(Path("offline-run-20260101_000000-abc/run-abc.wandb"), state="finished")


@pytest.fixture
def training(tmp_path: Path) -> Path:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/best.pt").touch()
    return tmp_path


def test_run_without_the_checkpoint_is_named_with_the_file(training: Path) -> None:
    (finding,) = _check_checkpoint("bare", [FINISHED], training)

    assert (finding.check, finding.status) == ("checkpoint", "warning")
    assert finding.message == f"run bare does not hold {training / 'weights/best.pt'}"


@pytest.mark.parametrize("run_id", ["abc", ODD_ID])
def test_checkpoint_is_known_by_the_name_that_is_made_of_the_runs_id(training: Path, run_id: str) -> None:
    logged = RecordedArtifact(model_collection(run_id), "model", (), {})

    assert _check_checkpoint(run_id, [FINISHED, replace(FINISHED, artifacts=[logged])], training) == []
    used = replace(FINISHED, artifacts=[replace(logged, is_input=True)])
    assert len(_check_checkpoint(run_id, [used], training)) == 1, "an input was not logged"


@pytest.mark.parametrize(
    "run", [replace(FINISHED, path=Path("run-20260101_000000-abc/run-abc.wandb")), replace(FINISHED, state="failed")]
)
def test_run_that_was_online_or_has_failed_may_lack_it(training: Path, run: RecordedRun) -> None:
    assert _check_checkpoint("abc", [run], training) == []


def test_training_without_a_checkpoint_has_nothing_to_hold(tmp_path: Path) -> None:
    assert _check_checkpoint("abc", [FINISHED], tmp_path) == []
