"""W&B's own rules for options and variables."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ultralytics_wb_ddp import ConfigurationError
from ultralytics_wb_ddp.config.options import RunOptions
from ultralytics_wb_ddp.config.types import ArtifactName, RunId, validate_environment
from ultralytics_wb_ddp.config.validation import validate


@pytest.mark.parametrize("run_id", ["", " a", "a ", "a/b", "a:b", "a#b", "a?b", "a,b", "a;b", "a'b", "x" * 129])
def test_run_id_that_wandb_refuses(run_id: str) -> None:
    with pytest.raises(ConfigurationError, match="WANDB_RUN_ID="):
        validate(RunId, run_id, "WANDB_RUN_ID")


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("name", "n" * 129, "has 129 characters; W&B takes 1 to 128"),
        ("group", "g" * 200, "has 200 characters; W&B takes 1 to 128"),
        ("job_type", "j" * 65, "has 65 characters; W&B takes 1 to 64"),
        ("tags", ["t" * 65], "has 65 characters; W&B takes 1 to 64"),
    ],
)
def test_value_that_w_and_b_has_no_room_for_is_refused(setting: str, value: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(words)) as caught:
        RunOptions.parse({setting: value}, "cfg.wandb")

    assert f"cfg.wandb.{setting}" in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "setting", "value"),
    [
        ("WANDB_TAGS", "tags", f"good,{'t' * 65}"),
        ("WANDB_NAME", "name", "n" * 129),
        ("WANDB_RUN_GROUP", "group", "g" * 129),
        ("WANDB_JOB_TYPE", "job_type", "j" * 65),
        ("WANDB_PROJECT", "project", "a/b"),
        ("WANDB_RUN_ID", "id", "a/b"),
    ],
)
def test_variable_is_checked_where_the_setting_is_not_given(
    monkeypatch: pytest.MonkeyPatch, variable: str, setting: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(ConfigurationError, match=variable):
        RunOptions.parse({}, "add_wandb_callback()")
    validate_environment({setting})


def test_variables_that_w_and_b_takes_are_not_refused() -> None:
    validate_environment((), {"WANDB_TAGS": "a,,b,", "WANDB_NAME": "n" * 128, "WANDB_RUN_ID": "lr=0.01 bs=8"})
    validate_environment((), {"WANDB_RUN_GROUP": "x" * 200, "ULTRALYTICS_WB_DDP": "{}"})


@pytest.mark.parametrize(("name", "words"), [("my model", "W&B takes letters, digits"), ("x" * 129, "shorten it")])
def test_artifact_of_a_job_has_a_name_that_w_and_b_takes(name: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        validate(ArtifactName, name, "artifacts.outputs[0].name")


def test_id_that_is_too_long_for_a_folder_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="W&B names a folder after it, and 384 bytes are too many"):
        validate(RunId, "日" * 128, "id")
