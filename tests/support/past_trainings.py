"""Directories of trainings that were not logged, and the command that imports them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]  # carries no types
from wandb_server import WandbServer

from support.jobs import run_command

CUT_OFF = {"epoch": 0, "optimizer": {"state": {}}, "train_args": {"epochs": 3, "optimizer": "auto"}}
STRIPPED = {"date": "today", "epoch": -1, "optimizer": None, "train_args": {"epochs": 3}, "ema": None}
OLD_RESULTS = """\
                  epoch,         train/box_loss,       metrics/mAP50(B),                 lr/pg0
                      1,                 1.2345,                    0.1,                   0.01
                      2,                 1.1111,                    0.2,                   0.02
"""


def import_command(server: WandbServer, directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a directory, with a server."""
    done = run_command(directory, "import", *words, timeout=200, **server.environment)
    assert "Traceback" not in done.stdout + done.stderr
    return done


def save_checkpoint(content: dict[str, Any], training: Path) -> None:
    """Write the last checkpoint of a training's directory."""
    file = training / "weights/last.pt"
    file.parent.mkdir(exist_ok=True)
    torch.save(content, file)


def write_training(directory: Path, results: str, **arguments: object) -> Path:
    """Write the directory of a training, and return it."""
    directory.mkdir(parents=True)
    (directory / "results.csv").write_text(results)
    if arguments:
        (directory / "args.yaml").write_text(yaml.safe_dump(arguments))
    return directory
