"""The package as it is installed: what importing it costs, its public names, its command."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import requires, version

import pytest

import ultralytics_wb_ddp


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize(
    "statement",
    [
        "import ultralytics_wb_ddp",
        "from ultralytics_wb_ddp import callbacks, add_wandb_callback, WandbManager, WandbCallback, Topology",
        "import ultralytics_wb_ddp.session",
        "import ultralytics_wb_ddp.testing",
        "import ultralytics_wb_ddp.cli",
    ],
)
def test_importing_imports_neither_torch_nor_wandb_nor_ultralytics(statement: str) -> None:
    heavy = '{"torch", "wandb", "ultralytics"}'

    assert python(f"{statement}; import sys; print({heavy} & set(sys.modules))") == "set()"


def test_every_public_name_can_be_had() -> None:
    assert [name for name in ultralytics_wb_ddp.__all__ if not hasattr(ultralytics_wb_ddp, name)] == []


def test_callbacks_are_functions_by_event_as_the_stock_ones_are() -> None:
    assert {"on_pretrain_routine_start", "on_fit_epoch_end", "on_train_end"} <= set(ultralytics_wb_ddp.callbacks)
    assert all(callable(function) for function in ultralytics_wb_ddp.callbacks.values())


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'WandbManger'"):
        _ = ultralytics_wb_ddp.WandbManger


def test_metadata_declares_version_and_requirements() -> None:
    assert version("ultralytics-wb-ddp") == ultralytics_wb_ddp.__version__
    declared = " ".join(requires("ultralytics-wb-ddp") or [])
    for name in ("ultralytics", "torch", "wandb", "cloudpickle", "omegaconf", "click", "psutil", "requests", "boto3"):
        assert name in declared
