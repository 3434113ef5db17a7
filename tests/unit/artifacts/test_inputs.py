"""The sources of a training's inputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.input_sources import save_weights, sources_of
from ultralytics_wb_ddp.testing.shapes_dataset import make_shapes_dataset


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_shapes_dataset(tmp_path / "shapes", images=4, classes=2)


def test_resumed_training_in_another_run_starts_from_its_checkpoint(data: Path, tmp_path: Path) -> None:
    last = tmp_path / "last.pt"
    given = {"model": str(last), "resume": str(last), "network": save_weights(last)}

    resumed = sources_of(data, tmp_path / "train", **given)
    assert resumed.network.matching_files(resumed.weights) == [last]
    assert sources_of(data, tmp_path / "train", **given, goes_on=True).weights == ()
