"""The option ``link``, which names where checkpoints are linked to."""

from __future__ import annotations

import pytest

from ultralytics_wb_ddp import ConfigurationError, WandbConfig
from ultralytics_wb_ddp.config.names import link_problem


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("yolo", "the form is"),
        ("", "the form is"),
        ("a/b/c/d", "the form is"),
        ("registry/", "the form is"),
        ("demo/yolo:best", "refuses :"),
        ("wandb-registry-/yolo", "the registry has no name"),
        ("demo/" + "x" * 129, "more than 128 characters"),
        (7, "a string is expected"),
    ],
)
def test_link_that_wandb_would_refuse_is_a_configuration_error(target: object, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=f"cfg.wandb.link=.*{problem}"):
        WandbConfig.from_cfg({"wandb": {"project": "demo", "link": target}})


def test_link_is_an_option_of_the_config() -> None:
    config = WandbConfig.from_cfg({"wandb": {"project": "demo", "link": "wandb-registry-model/yolo"}})

    assert config.link == "wandb-registry-model/yolo"
    assert WandbConfig.from_cfg({"wandb": {"project": "demo"}}).link is None


@pytest.mark.parametrize(
    "target", ["wandb-registry-model/yolo", "organization/wandb-registry-model/yolo", "demo/portfolio", "team/demo/x"]
)
def test_registries_and_portfolios_can_be_linked_to(target: str) -> None:
    assert link_problem(target) is None
