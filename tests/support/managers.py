"""Managers in the process of a test, in an environment that knows of no run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ultralytics_wb_ddp import WandbManager
from ultralytics_wb_ddp.runs.handoff import HANDOFF_VARIABLE

MakeManager = Callable[..., WandbManager]


def clean_environment(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Remove what leads to a run, an account or a service."""
    for name in list(os.environ):
        if name.startswith(("WANDB_", "AWS_")) or name in {HANDOFF_VARIABLE, "RANK", "EXPERIMENT_GROUP_NAME"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))  # no netrc and no credentials of the developer
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_CONSOLE", "off")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("YOLO_VERBOSE", "False")  # which the commands set where it is not set


def manager_maker(directory: Path) -> MakeManager:
    """Return a function that makes managers of offline runs below a directory."""

    def make(job_name: str = "job", experiment: str | None = None, **section: Any) -> WandbManager:
        cfg = {"wandb": {"project": "demo", "mode": "offline", "dir": str(directory), **section}}
        return WandbManager(cfg, job_name, experiment)

    return make
