"""A training's run that is open on another host: an error where that is wanted."""

from __future__ import annotations

import pytest

from ultralytics_wb_ddp.config.options import RunOptions
from ultralytics_wb_ddp.runs.handoff import Handoff
from ultralytics_wb_ddp.runs.resolution import open_main_run


def test_run_that_is_open_on_another_host_is_an_error_where_that_is_wanted() -> None:
    gone = Handoff("gone", "demo", state="open", host="another-host")

    with pytest.raises(ConnectionError, match="run 'gone' is open on host 'another-host'"):
        open_main_run(None, gone, RunOptions(on_error="raise"), {}, None)
