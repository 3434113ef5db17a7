"""WandbManager: its names, its options, and what it does without a run."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from support.managers import MakeManager, clean_environment, manager_maker
from ultralytics_wb_ddp import ConfigurationError, WandbManager, wandb_config
from ultralytics_wb_ddp.runs.handoff import HANDOFF_VARIABLE
from ultralytics_wb_ddp.wandb_client.run_file import find_run_files

API_KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clean_environment(monkeypatch, tmp_path)


@pytest.fixture
def make_manager(tmp_path: Path) -> MakeManager:
    return manager_maker(tmp_path)


def test_attributes_are_what_was_given() -> None:
    cfg = OmegaConf.create({"wandb": {"project": "demo", "mode": "offline"}, "lr": 0.1})

    manager = WandbManager(cfg, job_name="my-job", experiment_group_name="exp-1")

    assert (manager.cfg, manager.job_name, manager.experiment_group_name) == (cfg, "my-job", "exp-1")
    assert manager.run is None


@pytest.mark.parametrize("around", [{}, {"name": "of the block"}])
def test_job_without_a_name_has_the_runs(around: dict[str, Any]) -> None:
    cfg = {"wandb": {"project": "demo"} | ({} if around else {"name": "of cfg"})}

    with wandb_config(**around):
        assert WandbManager(cfg).job_name == around.get("name", "of cfg")


def test_job_and_run_without_a_name_are_an_error() -> None:
    with pytest.raises(ConfigurationError, match=r"job_name is missing; give WandbManager\(cfg, job_name=\.\.\.\), or"):
        WandbManager({"wandb": {"project": "demo"}})


def test_group_of_the_variable_is_checked_where_it_is_the_runs(
    make_manager: MakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPERIMENT_GROUP_NAME", "e" * 129)

    with pytest.raises(ConfigurationError, match=r"EXPERIMENT_GROUP_NAME='e+': it has 129 characters; .*, shorten it"):
        make_manager("job")
    make_manager("job", group="mine")
    make_manager("job", "exp-1")


def test_missing_project_is_an_error_before_anything_else_happens(tmp_path: Path) -> None:
    before = dict(os.environ)

    with pytest.raises(ConfigurationError, match=r"cfg\.wandb\.project is missing"):
        WandbManager(Namespace(wandb={}), "job")

    assert dict(os.environ) == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("names", [{"job_name": 3}, {"job_name": "job", "experiment_group_name": 3}])
def test_name_that_is_no_string_is_an_error(names: dict[str, Any]) -> None:
    *_, wrong = names

    with pytest.raises(ConfigurationError, match=f"^{wrong}=3: a string is expected"):
        WandbManager({"wandb": {"project": "demo"}}, **names)


def test_failed_initialize_leaves_the_environment_alone(
    make_manager: MakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HANDOFF_VARIABLE, "not json")
    before = dict(os.environ)

    with pytest.raises(ConfigurationError, match="not JSON"):
        make_manager(api_key=API_KEY).initialize()

    assert dict(os.environ) == before


def test_on_rank_1_every_method_is_a_quiet_no_op(
    make_manager: MakeManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    before = dict(os.environ)
    manager = make_manager()

    assert manager.initialize() == (None, None)
    with manager:
        manager.save_config({"a": 1})
        manager.save_training_artifacts(tmp_path / "nowhere")
        manager.save_training_job_metadata({"a": 1})
        manager.prepare_for_training()
        assert manager.resume_after_training() is None
        manager.log_s3_artifact("s3://bucket/best.pt", "final_model")
    manager.finish()
    assert manager.download_logs(tmp_path / "logs") is None

    assert dict(os.environ) == before
    assert find_run_files(tmp_path) == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "words"), [("log", "; the run has it: manager.run.log$"), ("lgo", "attribute 'lgo'$")]
)
def test_attribute_of_the_run_is_pointed_to(make_manager: MakeManager, name: str, words: str) -> None:
    with pytest.raises(AttributeError, match=words):
        getattr(make_manager(), name)


def test_method_without_a_run_says_to_initialize(make_manager: MakeManager) -> None:
    with pytest.raises(RuntimeError, match=r"call initialize\(\) first"):
        make_manager().save_config({})
