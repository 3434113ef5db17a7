"""The environment of a child process."""

from __future__ import annotations

import os
import sys

import pytest

from ultralytics_wb_ddp.wandb_client.child_process import child_environment


def test_child_imports_the_same_modules_and_has_its_own_wandb_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SERVICE", "3-1-tcp-localhost-1")
    monkeypatch.setattr(sys, "path", ["/extra", "", *sys.path])

    environment = child_environment()

    assert "WANDB_SERVICE" not in environment
    assert environment["PYTHONPATH"].startswith(f"/extra{os.pathsep}{sys.path[2]}")
