"""Names that are made of a run's id or a user's words are such that W&B takes them, and stay where it does already."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from ultralytics_wb_ddp import ConfigurationError, WandbManager
from ultralytics_wb_ddp.config.names import (
    derived_id,
    file_name,
    input_artifact_name,
    model_collection,
    run_name,
    safe_name,
    training_inputs_name,
)
from ultralytics_wb_ddp.config.types import RunId
from ultralytics_wb_ddp.config.validation import validate
from ultralytics_wb_ddp.distributed.topology import Topology, plan_rank
from ultralytics_wb_ddp.wandb_client.run_state import run_dir_in_command, sync_command
from ultralytics_wb_ddp.wandb_client.server import _path_of

ODD = ["lr=0.01 bs=8", "größe", "日本", "a&b|c*", "a\tb", "x" * 128, "日" * 128, "-", "a b", "a_b ", ""]
TAKEN = re.compile(r"[A-Za-z0-9_.-]{1,128}")  # by wandb.Artifact


@pytest.mark.parametrize("run_id", ["train_20260101_120000_ab12", "3f9k2x1a", "a.b-c_d", "x" * 118])
def test_name_of_the_find_checkpoints_an_ordinary_run_is_the_stock_callbacks(run_id: str) -> None:
    assert model_collection(run_id) == f"run_{run_id}_model"


def test_name_of_the_inputs_of_an_ordinary_run_stays_the_same() -> None:
    assert (training_inputs_name("abc"), input_artifact_name("dataset", "coco8")) == (
        "run_abc_training_inputs",
        "dataset_coco8",
    )


@pytest.mark.parametrize(
    "made", [safe_name, model_collection, training_inputs_name, lambda title: input_artifact_name("weights", title)]
)
def test_names_made_of_odd_ids_are_taken_and_differ(made: Any) -> None:
    names = [made(run_id) for run_id in ODD]

    assert all(TAKEN.fullmatch(name) for name in names)
    assert len(set(names)) == len(ODD)
    assert names == [made(run_id) for run_id in ODD]
    assert model_collection("lr=0.01 bs=8") == "run_lr_0.01_bs_8-a3436afb_model"


def test_ids_of_the_ranks_of_a_run_with_a_long_id_are_short_enough_and_differ() -> None:
    def of_rank(rank: int, base_id: str) -> str:
        plan = plan_rank(Topology(rank, rank, 2, 2, 0, 1), "new", "global", base_id)
        assert plan
        validate(RunId, plan.run_id, "id")
        return plan.run_id

    assert of_rank(1, "abc") == "abc-rank-1"
    ids = {of_rank(rank, base_id) for rank in (0, 1) for base_id in ("x" * 128, "x" * 127 + "y")}
    assert len(ids) == 4
    assert derived_id("x" * 121, "rank-1") == f"{'x' * 121}-rank-1"


def test_names_of_runs_are_shortened_in_front_of_the_part_that_differs() -> None:
    assert run_name("a" * 128) == "a" * 128
    assert run_name("a" * 200) == f"{'a' * 125}..."
    assert run_name("a" * 200, "rank-1") == f"{'a' * 118}...-rank-1"


def test_names_of_files_stay_where_they_are_short() -> None:
    assert file_name("group-demo-my group", ".json") == "group-demo-my group.json"
    assert len(file_name("日" * 128, ".json").encode()) <= 255


@pytest.mark.parametrize(
    "folder", ["wandb/offline-run-1-a", "wandb/offline-run-1-lr=0.01 bs=8", "it's/offline-run-1-a"]
)
def test_command_that_sends_a_run_can_be_copied(folder: str) -> None:
    command = sync_command(folder)

    assert shlex.split(command) == ["ultralytics-wb-ddp", "sync", folder]
    assert run_dir_in_command(command) == Path(folder)
    assert run_dir_in_command(f"wandb sync {folder}") == Path(folder), "as older releases have noted it"


def test_name_of_a_job_and_of_its_group_is_checked_before_the_run() -> None:
    cfg = {"wandb": {"project": "demo"}}

    with pytest.raises(ConfigurationError, match="job_name='nnn"):
        WandbManager(cfg, "n" * 129)
    with pytest.raises(ConfigurationError, match="experiment_group_name='ggg"):
        WandbManager(cfg, "job", "g" * 129)


def test_all_ids_of_a_group_are_checked_before_its_first_run() -> None:
    cfg = {"wandb": {"project": "demo"}}

    WandbManager.group(cfg, "g" * 120, 10)
    with pytest.raises(ConfigurationError, match="summary': a run id has at most 128 characters; shorten it"):
        WandbManager.group(cfg, "g" * 121, 10)


def test_web_address_of_a_run_with_an_odd_id_names_the_run() -> None:
    assert _path_of("https://wandb.ai/team/my%20demo/runs/lr%3D0.01%20bs%3D8?nw=x") == "team/my demo/lr=0.01 bs=8"
    assert _path_of("team/demo/100%25") == "team/demo/100%25"
