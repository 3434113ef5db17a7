"""A wrong value of a manager's setting is an error that names the setting."""

from __future__ import annotations

import pytest

from ultralytics_wb_ddp import ConfigurationError, WandbConfig


@pytest.mark.parametrize("setting", ["init_timeout", "finish_timeout", "flush_interval", "on_launcher_lost"])
def test_wrong_setting_is_refused_by_name(setting: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"cfg\.wandb\.{setting}='soon'"):
        WandbConfig.from_cfg({"wandb": {"project": "demo", setting: "soon"}})
