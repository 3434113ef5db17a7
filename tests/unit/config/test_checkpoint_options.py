"""The options of checkpoints."""

from __future__ import annotations

from typing import Any

import pytest

from ultralytics_wb_ddp.config.options import RunOptions
from ultralytics_wb_ddp.config.validation import ConfigurationError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checkpoints": "last"}, "checkpoints='last' is unknown; choose one of best, best+last, all, none"),
        ({"checkpoint_interval": -1}, "checkpoint_interval=-1: a whole number, 0 or more, is expected"),
        ({"checkpoint_store": "bucket/runs"}, "checkpoint_store='bucket/runs': "),
        ({"checkpoint_keep": 1.5}, "checkpoint_keep=1.5: a whole number, 0 or more, is expected"),
    ],
)
def test_wrong_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match="add_wandb_callback: ") as caught:
        RunOptions.parse(options, "add_wandb_callback")
    assert message in str(caught.value)
