"""The links that a training's directory holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from ultralytics_wb_ddp import Links
from ultralytics_wb_ddp.runs.run_record import RunRecord


def test_links_of_a_training_are_in_its_directory(tmp_path: Path) -> None:
    links = Links(run="https://w/e/p/runs/r", project="https://w/e/p", nodes={"worker-0": "https://w/e/p/runs/r"})
    RunRecord("r", links=links.as_dict()).save(tmp_path)

    assert Links.of_training(tmp_path) == links
    run_of_stock_callback = tmp_path / "stock/wandb/run-20260101_000000-a/run-a.wandb"
    run_of_stock_callback.parent.mkdir(parents=True)
    run_of_stock_callback.touch()
    for other in ("other", "stock"):
        with pytest.raises(FileNotFoundError, match=r"has no wandb_run\.json; give the directory of a training"):
            Links.of_training(tmp_path / other)
