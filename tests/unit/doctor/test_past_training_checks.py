"""The doctor after a training that left no run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from support.doctor import Trained
from ultralytics_wb_ddp.cli.main import main


@pytest.fixture
def trained(tmp_path: Path) -> Trained:
    return Trained(tmp_path)


def test_disabled_client_is_among_the_causes_of_a_training_that_was_not_logged(trained: Trained) -> None:
    trained.results(3)

    assert "W&B was not disabled (WANDB_MODE=disabled" in trained.examine()["warning"]["record"]


def test_run_that_is_nowhere_is_told_with_every_place_and_the_option_that_names_another(trained: Trained) -> None:
    trained.results(1)
    trained.record("gone", links={"sync_command": "wandb sync /nowhere/wandb/offline-run-x"})

    text = trained.examine()["warning"]["run"]

    assert f"{trained.job / 'wandb'} or in /nowhere/wandb" in text
    assert "give with --dir the directory above the 'wandb'" in text


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"epoch": 0, "optimizer": {}}, True),
        ({"epoch": 2, "optimizer": {}}, False),  # killed after the last epoch
        ({"date": "today", "epoch": -1, "optimizer": None}, False),  # as Ultralytics leaves it at the end
        (None, False),
    ],
)
def test_only_a_training_that_was_cut_off_can_be_resumed(
    trained: Trained, content: dict[str, Any] | None, *, told: bool
) -> None:
    import torch

    (trained.directory / "args.yaml").write_text("task: detect\nepochs: 3\n")
    trained.record("cut")
    (trained.directory / "weights").mkdir()
    if content:
        torch.save(content, trained.directory / "weights" / "last.pt")

    assert ("model.train(resume=True) continues it" in trained.examine()["ok"]["record"]) == told


def test_directory_without_a_training_is_an_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["doctor", "--training", str(tmp_path)])

    assert result.exit_code == 1
    assert "give the directory of one training" in " ".join(result.output.split())
