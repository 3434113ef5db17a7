"""Options of cfg.wandb, from every kind of config, and the refusal of wrong ones."""

from __future__ import annotations

import inspect
from argparse import Namespace
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from omegaconf import OmegaConf

from ultralytics_wb_ddp import ConfigurationError, RunGroup, WandbConfig
from ultralytics_wb_ddp.config.options import (
    STRATEGIES,
    GroupOptionsDict,
    RunOptions,
    RunOptionsDict,
    ScopeOptionsDict,
    Strategy,
    merge,
)


@dataclass
class Section:
    project: str = "demo"
    tags: list[str] = field(default_factory=lambda: ["a"])


@dataclass
class Config:
    wandb: Section = field(default_factory=Section)


@pytest.mark.parametrize(
    "cfg",
    [
        {"wandb": {"project": "demo", "tags": ["a"]}},
        OmegaConf.create({"wandb": {"project": "${name}", "tags": ["a"]}, "name": "demo", "broken": "${nowhere}"}),
        OmegaConf.structured(Config),
        Config(),
        Namespace(wandb=Namespace(project="demo", tags=["a"])),
        SimpleNamespace(wandb={"project": "demo", "tags": ("a",)}),
    ],
    ids=["mapping", "omegaconf", "structured", "dataclass", "argparse", "namespace"],
)
def test_cfg_may_be_any_kind_of_config(cfg: Any) -> None:
    config = WandbConfig.from_cfg(cfg)

    assert config.project == "demo"
    assert config.tags == ("a",)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        (None, ["cfg.wandb", "missing", "project"]),
        ({}, ["cfg.wandb.project", "missing"]),
        ({"project": "???"}, ["cfg.wandb.project", "missing"]),
        ({"project": ""}, ["cfg.wandb.project=''", "empty"]),
        ({"project": "a/b"}, ["'a/b'", "/", "replace"]),
        ({"project": "x" * 129}, ["128", "shorten"]),
        ({"project": "demo", "inputs": "yes"}, ["cfg.wandb.inputs='yes'", "true or false"]),
        ({"project": "demo", "data_uri": "bucket/data"}, ["cfg.wandb.data_uri='bucket/data'", "s3://bucket/shapes"]),
        ({"project": 7}, ["cfg.wandb.project=7", "a string is expected"]),
        ({"projekt": "demo"}, ["cfg.wandb: 'projekt' is unknown; did you mean 'project'?"]),
        ({"project": "demo", "tag": ["a"]}, ["'tag'", "unknown", "'tags'"]),
        ({"project": "demo", "colour": "red"}, ["'colour'", "unknown", "entity"]),
        ({"project": "demo", "mode": "of"}, ["'of'", "online, offline, disabled"]),
        ({"project": "demo", "on_error": "ignore"}, ["'ignore'", "warn, raise"]),
        ({"project": "demo", "id": "a:b"}, ["'a:b'", ":", "letters"]),
        ({"project": "demo", "tags": [1]}, ["cfg.wandb.tags[0]=1", "a string is expected"]),
        ({"project": "demo", "tags": ["a", "b" * 65]}, ["cfg.wandb.tags[1]", "b" * 65, "65 characters", "1 to 64"]),
        ({"project": "demo", "tags": ""}, ["cfg.wandb.tags", "0 characters", "1 to 64"]),
        ({"project": "demo", "keep_open": "yes"}, ["keep_open='yes'", "true or false"]),
        ({"project": "demo", "mistakes": -1}, ["mistakes=-1", "0 to 256"]),
        ({"project": "demo", "mistakes": 1000}, ["mistakes=1000", "0 to 256"]),
        ({"project": "demo", "mistakes": True}, ["mistakes=True", "whole number"]),
    ],
)
def test_bad_setting_is_named_with_its_value_cause_and_remedy(section: Any, words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as error:
        WandbConfig.from_cfg({"wandb": section})

    assert [word for word in words if word not in str(error.value)] == []


@pytest.mark.parametrize("path", ["job.yaml", Path("job.yaml")])
def test_path_in_place_of_a_config_is_told_apart(path: str | Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cfg='job.yaml' is a path; .* OmegaConf.load\('job.yaml'\)"):
        WandbConfig.from_cfg(path)


def test_api_key_shows_neither_in_the_representation_nor_in_an_error() -> None:
    assert "hunter22" not in repr(WandbConfig.from_cfg({"wandb": {"project": "demo", "api_key": "hunter22"}}))

    with pytest.raises(ConfigurationError) as error:
        WandbConfig.from_cfg({"wandb": {"project": "demo", "api_key": 12345678}})
    assert "12345678" not in str(error.value)


def test_options_of_a_training_are_those_that_are_not_left_at_their_defaults() -> None:
    options = RunOptions(project="demo", name="a", strategy="all", checkpoint_keep=2, on_error="warn")

    assert options.training_options() == {"run_mode": "new", "rank_scope": "global", "checkpoint_keep": 2}


def test_first_layer_that_sets_an_option_wins() -> None:
    assert merge({"name": None, "project": "a"}, {"name": "b", "project": "b"}, {"dir": "c"}) == {
        "name": "b",
        "project": "a",
        "dir": "c",
    }


def test_strategy_is_the_two_options_that_it_stands_for() -> None:
    launchers = {"run_mode": "new", "rank_scope": "worker", "checkpoints": "none", "on_error": "raise"}

    merged = merge({"strategy": "main", "checkpoints": "best"}, launchers)

    assert merged == {"run_mode": "auto", "rank_scope": "global", "checkpoints": "best", "on_error": "raise"}
    assert merge({"rank_scope": "global"}, {"strategy": "node"}) == {"run_mode": "auto", "rank_scope": "global"}


def test_strategy_that_contradicts_its_own_layer_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="strategy='all' means run_mode='new', but run_mode='auto' is given"):
        merge({"strategy": "all", "run_mode": "auto"})


@pytest.mark.parametrize(("arguments", "options"), [(RunOptionsDict, RunOptions), (ScopeOptionsDict, WandbConfig)])
def test_editors_and_type_checkers_know_every_option(arguments: type, options: type) -> None:
    assert arguments.__annotations__.keys() == {field.name for field in fields(options)}


def test_type_checkers_know_every_strategy() -> None:
    assert get_args(Strategy) == tuple(STRATEGIES)


def test_type_checkers_know_every_option_of_a_group() -> None:
    known = inspect.signature(RunGroup).parameters.values()

    assert GroupOptionsDict.__annotations__.keys() == {each.name for each in known if each.kind is each.KEYWORD_ONLY}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"run_mode": "every"}, "run_mode='every' is unknown"),
        ({"strategy": "some"}, "strategy='some' is unknown; choose one of main, node, all"),
        ({"strategy": "all", "run_mode": "auto"}, "strategy='all' means run_mode='new', but run_mode='auto' is given"),
        ({"mode": "shared"}, "mode='shared' is unknown; use run_mode='shared'"),
    ],
)
def test_wrong_mode_in_the_configuration_is_named(options: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        WandbConfig.from_cfg({"wandb": {"project": "demo", **options}})
