"""The record by which a worker learns which run to continue."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from ultralytics_wb_ddp import ConfigurationError
from ultralytics_wb_ddp.runs.handoff import HANDOFF_VARIABLE, Handoff, write_handback

RECORD = Handoff(
    "abc", "demo", "team", "open", "host-1", "offline", 7, 1.5, "/runs/abc/files", ("lr0", "seed"), "3-1-unix-/tmp/s"
)


def test_environment_carries_the_whole_record() -> None:
    assert Handoff.from_env(RECORD.to_env()) == RECORD


def test_run_is_named_by_wandbs_own_variables() -> None:
    env = RECORD.to_env()

    assert (env["WANDB_RUN_ID"], env["WANDB_PROJECT"], env["WANDB_ENTITY"]) == ("abc", "demo", "team")
    assert set(env) == {"WANDB_RUN_ID", "WANDB_PROJECT", "WANDB_ENTITY", HANDOFF_VARIABLE}


def test_no_run_no_handoff() -> None:
    assert Handoff.from_env({}) is None
    assert Handoff.from_env({"WANDB_PROJECT": "demo"}) is None


def test_run_that_other_code_has_named_is_closed() -> None:
    assert Handoff.from_env({"WANDB_RUN_ID": "abc", "WANDB_PROJECT": "demo"}) == Handoff("abc", "demo", state="closed")


def test_record_of_another_run_than_the_named_one_is_left_out() -> None:
    env = {**RECORD.to_env(), "WANDB_RUN_ID": "another"}

    assert Handoff.from_env(env) == Handoff("another", "demo", "team", state="closed")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("{open", ["'{open'", "not JSON", "unset"]),
        ("[1]", ["version None", "unset"]),
        (json.dumps({"version": 1, "state": "open"}), ["version 1", "version 2", "different releases"]),
        (json.dumps({"version": 2, "run_id": "abc", "state": "ajar"}), ["state='ajar'", "unset"]),
        (json.dumps({"version": 2, "run_id": "abc", "next_step": "x"}), ["next_step='x'"]),
        (json.dumps({"version": 2, "run_id": "abc", "mode": "sharp"}), ["mode='sharp'"]),
        (json.dumps({"version": 2, "run_id": "abc", "config_keys": 3}), ["config_keys=3"]),
    ],
)
def test_damaged_record_is_an_error_with_value_cause_and_remedy(value: str, words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as error:
        Handoff.from_env({"WANDB_RUN_ID": "abc", HANDOFF_VARIABLE: value})

    assert [word for word in [HANDOFF_VARIABLE, *words] if word not in str(error.value)] == []


def test_run_id_that_wandb_refuses_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="WANDB_RUN_ID='a/b'"):
        Handoff.from_env({"WANDB_RUN_ID": "a/b"})


def test_launcher_learns_how_far_the_worker_came_and_how_it_ended(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    handoff = replace(RECORD, files_dir=str(tmp_path / "files"), next_step=3)
    assert handoff.read_handback(timeout=0.0)[1] is None

    write_handback(tmp_path / "worker.json", next_step=7, exit_code=143)
    reached, exit_code = handoff.read_handback(timeout=0.0)

    assert (reached.next_step, exit_code) == (7, 143)
    assert reached.closed_at
    handoff.delete_handback()
    assert handoff.read_handback(timeout=0.0)[1] is None


def test_launcher_waits_for_a_session_that_is_still_being_closed(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    handoff = replace(RECORD, files_dir=str(tmp_path / "files"))
    word = tmp_path / "worker.json"
    write_handback(word, pid=os.getpid())
    threading.Timer(0.3, write_handback, [word], {"next_step": 7, "exit_code": 1}).start()

    assert handoff.read_handback(timeout=10.0)[1] == 1


def test_worker_on_another_host_leaves_no_word() -> None:
    assert replace(RECORD, files_dir="/not/on/this/host/files").handback_file is None
