"""Files of a training as one artifact: paths that cannot be stored, and the list of packages."""

from __future__ import annotations

from pathlib import Path

import pytest
import wandb

from ultralytics_wb_ddp.artifacts.files import installed_packages, log_files


def test_path_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"nowhere\.yaml' does not exist .* in artifact 'inputs'; check the path"
    ):
        log_files(None, (tmp_path / "nowhere.yaml",), "inputs", "training-inputs")


def test_two_files_of_one_name_are_an_error(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "data.yaml").touch()

    with pytest.raises(ValueError, match=r"would both be 'data\.yaml' in artifact 'inputs'; rename one"):
        log_files(None, (tmp_path / "a/data.yaml", tmp_path / "b/data.yaml"), "inputs", "training-inputs")


def test_packages_are_listed_as_pip_does() -> None:
    packages = installed_packages().splitlines()

    assert f"wandb=={wandb.__version__}" in packages
    assert [line.partition("==")[0].lower() for line in packages] == sorted(
        line.partition("==")[0].lower() for line in packages
    )
