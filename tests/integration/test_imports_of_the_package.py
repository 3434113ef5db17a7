"""The price of an import of the package: neither torch nor wandb nor Ultralytics."""

from __future__ import annotations

import subprocess
import sys

import pytest


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize(
    "statement",
    [
        "import ultralytics_wb_ddp",
        "from ultralytics_wb_ddp import callbacks, add_wandb_callback, WandbManager, WandbCallback, Topology",
        "import ultralytics_wb_ddp.runs.lifecycle",
        "import ultralytics_wb_ddp.testing",
        "import ultralytics_wb_ddp.cli",
    ],
)
def test_importing_imports_neither_torch_nor_wandb_nor_ultralytics(statement: str) -> None:
    heavy = '{"torch", "wandb", "ultralytics"}'

    assert python(f"{statement}; import sys; print({heavy} & set(sys.modules))") == "set()"
