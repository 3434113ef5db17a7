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


@pytest.mark.parametrize(
    ("yaml", "given"),
    [
        ("path: s3://bucket/shapes\n", {}),
        ("train: [s3://bucket/shapes]\n", {}),
        ("", {"data_uri": "s3://bucket/shapes"}),
        ("", {"data": "s3://bucket/shapes"}),
    ],
)
def test_address_of_a_dataset_is_in_its_yaml_or_given(
    data: Path, tmp_path: Path, yaml: str, given: dict[str, str]
) -> None:
    content = "".join(line for line in data.read_text().splitlines(keepends=True) if line[:4] != yaml[:4])
    data.write_text(content + yaml)

    assert sources_of(data, tmp_path / "train", **given).addresses == ("s3://bucket/shapes",)


def test_dataset_on_disk_has_no_address(data: Path, tmp_path: Path) -> None:
    assert sources_of(data, tmp_path / "train").addresses == ()


def test_arguments_that_name_the_directory_of_a_training_are_no_input(data: Path, tmp_path: Path) -> None:
    given = {"project": "runs", "name": "train", "exist_ok": True, "epochs": 3}

    arguments = sources_of(data, tmp_path / "train", **given).arguments

    assert (arguments["epochs"], arguments.keys() & {"project", "name", "exist_ok"}) == (3, set())
