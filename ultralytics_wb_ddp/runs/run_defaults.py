"""The stock callback's defaults for a run."""

from __future__ import annotations

import os
import re
from typing import Any

from ultralytics_wb_ddp.config.names import MAX_LENGTH, run_name
from ultralytics_wb_ddp.config.options import RunOptions
from ultralytics_wb_ddp.config.validation import RESERVED_IN_PROJECT


def stock_run_options(trainer: Any) -> RunOptions:
    """Return the options with which the stock callback would create a run.

    ``WANDB_PROJECT``, ``WANDB_NAME`` and ``WANDB_DIR`` come first.

    Args:
        trainer: The Ultralytics trainer.
    """
    project = str(trainer.args.project or "Ultralytics")
    return RunOptions(
        project=os.environ.get("WANDB_PROJECT")
        or re.sub(f"[{re.escape(RESERVED_IN_PROJECT)}]", "-", project)[-MAX_LENGTH:],
        name=os.environ.get("WANDB_NAME") or run_name(str(trainer.args.name)),
        dir=os.environ.get("WANDB_DIR") or str(trainer.save_dir),
    )
