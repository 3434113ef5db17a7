"""The stock callback's defaults for a run."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config.names import MAX_LENGTH, run_name
from ultralytics_wb_ddp.config.types import RESERVED_IN_PROJECT

if TYPE_CHECKING:
    from pathlib import Path


def stock_run_options(project: Any, name: Any, save_dir: str | Path) -> dict[str, str]:
    """Return the options with which the stock callback would create a run, by name.

    ``WANDB_PROJECT``, ``WANDB_NAME`` and ``WANDB_DIR`` come first.

    Args:
        project: The training argument ``project``; None if it is not set.
        name: The training argument ``name``.
        save_dir: Directory of the training.
    """
    return {
        "project": os.environ.get("WANDB_PROJECT")
        or re.sub(f"[{re.escape(RESERVED_IN_PROJECT)}]", "-", str(project or "Ultralytics"))[-MAX_LENGTH:],
        "name": os.environ.get("WANDB_NAME") or run_name(str(name)),
        "dir": os.environ.get("WANDB_DIR") or str(save_dir),
    }
