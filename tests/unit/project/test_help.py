"""What ``help()`` says of the package."""

from __future__ import annotations

import importlib
import pkgutil
import pydoc

import pytest

import ultralytics_wb_ddp


def test_help_does_not_show_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    key = "0123456789abcdef" * 3
    monkeypatch.setenv("WANDB_API_KEY", key)
    found = pkgutil.walk_packages(ultralytics_wb_ddp.__path__, "ultralytics_wb_ddp.")
    modules = [importlib.import_module(info.name) for info in found if not info.name.endswith("__main__")]
    said = "".join(pydoc.plain(pydoc.render_doc(module)) for module in modules)

    assert "is_main_process(" in said
    assert key not in said
