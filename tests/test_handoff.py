"""The record by which a worker learns which run to continue."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ultralytics_wb_ddp import ConfigurationError
from ultralytics_wb_ddp.handoff import VARIABLE, Handoff

RECORD = Handoff("abc", "demo", "team", "open", "host-1", "offline", 7, 1.5, "/runs/abc/files", ("lr0", "seed"))


def test_environment_carries_the_whole_record() -> None:
    assert Handoff.from_env(RECORD.to_env()) == RECORD


def test_run_is_named_by_wandbs_own_variables() -> None:
    env = RECORD.to_env()

    assert (env["WANDB_RUN_ID"], env["WANDB_PROJECT"], env["WANDB_ENTITY"]) == ("abc", "demo", "team")
    assert set(env) == {"WANDB_RUN_ID", "WANDB_PROJECT", "WANDB_ENTITY", VARIABLE}


def test_no_run_no_handoff() -> None:
    assert Handoff.from_env({}) is None
    assert Handoff.from_env({"WANDB_PROJECT": "demo"}) is None


def test_run_that_somebody_else_named_is_closed() -> None:
    assert Handoff.from_env({"WANDB_RUN_ID": "abc", "WANDB_PROJECT": "demo"}) == Handoff("abc", "demo", state="closed")


def test_record_of_another_run_than_the_named_one_is_left_out() -> None:
    env = {**RECORD.to_env(), "WANDB_RUN_ID": "another"}

    assert Handoff.from_env(env) == Handoff("another", "demo", "team", state="closed")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("{open", ["'{open'", "not JSON", "unset"]),
        ("[1]", ["version None", "unset"]),
        (json.dumps({"version": 2, "state": "open"}), ["version 2", "version 1", "different releases"]),
        (json.dumps({"version": 1, "state": "ajar"}), ["state='ajar'", "unset"]),
        (json.dumps({"version": 1, "state": "open", "next_step": "x"}), ["next_step='x'"]),
        (json.dumps({"version": 1, "state": "open", "mode": "sharp"}), ["mode='sharp'"]),
        (json.dumps({"version": 1, "state": "open", "config_keys": 3}), ["config_keys=3"]),
    ],
)
def test_damaged_record_is_an_error_with_value_cause_and_remedy(value: str, words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as error:
        Handoff.from_env({"WANDB_RUN_ID": "abc", VARIABLE: value})

    assert [word for word in [VARIABLE, *words] if word not in str(error.value)] == []


def test_run_id_that_wandb_refuses_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="WANDB_RUN_ID='a/b'"):
        Handoff.from_env({"WANDB_RUN_ID": "a/b"})


def test_training_directory_names_the_run_of_its_earlier_session(tmp_path: Path) -> None:
    assert Handoff.from_directory(tmp_path) is None

    RECORD.to_directory(tmp_path, "https://wandb.ai/team/demo/runs/abc")
    assert Handoff.from_directory(tmp_path) == Handoff("abc", "demo", "team")


def test_training_directory_of_the_stock_callback_names_its_newest_run(tmp_path: Path) -> None:
    for run_id in ("old", "train_20260101_120000"):
        file = tmp_path / "wandb" / f"offline-run-20260101_120000-{run_id}" / f"run-{run_id}.wandb"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"")
        file.touch()
    (tmp_path / "wandb_run.json").write_text("{half a rec")

    handoff = Handoff.from_directory(tmp_path)
    assert handoff
    assert handoff.run_id == "train_20260101_120000"
