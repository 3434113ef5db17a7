"""The versions of a model that W&B keeps."""

from __future__ import annotations

from ultralytics_wb_ddp.artifacts.prune import CheckpointVersion, superseded


def test_best_last_newest_and_those_with_names_of_users_are_kept() -> None:
    versions = [
        CheckpointVersion(4, ("last", "epoch-50", "latest")),
        CheckpointVersion(3, ("epoch-40",)),
        CheckpointVersion(2, ("epoch-30", "best")),
        CheckpointVersion(1, ("epoch-20", "in-production")),
        CheckpointVersion(0, ("epoch-10",)),
        CheckpointVersion(10, ("latest",)),
    ]

    assert [version.number for version in superseded(versions, keep=0)] == [0, 3, 10]
    assert [version.number for version in superseded(versions, keep=1)] == [0, 3]
    assert superseded(versions, keep=3) == []
