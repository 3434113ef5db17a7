"""A manager among the blocks of wandb_config around and inside it."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from ultralytics_wb_ddp import ConfigurationError, WandbCallback, WandbManager, wandb_config

OFFLINE = {"project": "demo", "mode": "offline"}


@pytest.fixture
def no_run(no_s3: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:  # noqa: ARG001
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("no_run")
def test_manager_takes_from_the_block_what_its_config_and_arguments_leave_open() -> None:
    with wandb_config(**OFFLINE, name="block", group="block", entity="team"):
        with WandbManager({}, "job") as manager:
            assert (manager.run.project, manager.run.name, manager.run.group) == ("demo", "job", "block")
        with WandbManager({"wandb": {"project": "mine", "entity": None}}, "job", "exp-1") as manager:
            assert (manager.run.project, manager.config.entity, manager.run.group) == ("mine", "team", "exp-1")

        with WandbManager.group({}, "folds", runs=1) as group, next(iter(group))[1] as member:
            assert (member.run.project, member.run.name, member.run.group) == ("demo", "folds-fold-0", "folds")

    with pytest.raises(ConfigurationError, match=r"cfg\.wandb is missing"):
        WandbManager({}, "job")


@pytest.mark.usefixtures("no_run")
def test_config_of_a_manager_wins_over_blocks_around_it_and_blocks_inside_win_over_it() -> None:
    cfg = {"wandb": {"checkpoints": "best", "mistakes": 4}}
    with wandb_config(**OFFLINE, checkpoints="none", link="a/b"), WandbManager(cfg, "job"):
        around = WandbCallback().options
        with wandb_config(mistakes=8):
            inside = WandbCallback()
            arrived = pickle.loads(pickle.dumps(inside))
        mistakes = [inside.options.mistakes, arrived.options.mistakes]

    assert (around.checkpoints, around.mistakes, around.link) == ("best", 4, "a/b")
    assert mistakes == [8, 8]
