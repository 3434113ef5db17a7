"""Warnings of wrong uses that end well and log nothing."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import wandb
from ultralytics.engine.trainer import BaseTrainer

from ultralytics_wb_ddp.runs.misuse_warnings import (
    has_trained_since,
    unused_options,
    warn_of_finished_run,
    warn_of_late_callback,
    warn_of_nothing_logged,
)


class Trained(BaseTrainer):  # type: ignore[misc]
    """A trainer that has a directory."""

    def __init__(self, save_dir: Path) -> None:
        self.save_dir = save_dir


def test_only_options_that_differ_from_the_run_are_unused() -> None:
    given = {"project": "demo", "group": "g", "tags": ("a",), "notes": "n", "name": "x", "mode": "disabled"}
    with wandb.init(project="demo", mode="disabled", group="g", tags=["a", "b"], notes="n", name="x") as run:
        assert unused_options(given, run) == {}
        assert unused_options({"tags": ("c",), "mode": "online", "job_type": "t", "name": "x"}, run) == {
            "tags": ["c"],
            "mode": "online",
            "job_type": "t",
        }


def test_warnings_name_the_run_and_the_remedy(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "ultralytics_wb_ddp"):
        warn_of_finished_run(SimpleNamespace(id="abc"))
        warn_of_nothing_logged("abc")
        warn_of_late_callback(SimpleNamespace(trainer=object()))
        warn_of_late_callback(SimpleNamespace(trainer=None))
    finished, nothing, late = (record.getMessage() for record in caplog.records)

    assert finished.startswith("run=abc is finished already: the training opens it again")
    assert nothing.startswith("nothing of a training was logged to run abc: ")
    assert "call add_wandb_callback(model) before model.train()" in nothing
    assert late.startswith("this model was trained before add_wandb_callback(model) was called")


def test_training_since_a_moment_is_seen_by_its_arguments(tmp_path: Path) -> None:
    begun = time.time() - 1
    trainer = Trained(tmp_path)

    assert not has_trained_since(begun)
    (tmp_path / "args.yaml").touch()
    assert has_trained_since(begun)
    assert not has_trained_since(begun + 3600)
    assert trainer.save_dir == tmp_path
