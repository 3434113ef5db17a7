"""The state of a training is known to a process that imports neither torch nor wandb."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch


def test_state_is_known_without_torch_and_wandb(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    cut_off = {"epoch": 0, "optimizer": {"state": {}}, "train_args": {"epochs": 3}}
    torch.save(cut_off, tmp_path / "weights/last.pt")
    script = (
        "import sys; from ultralytics_wb_ddp import TrainingState; assert TrainingState.of(sys.argv[1]).can_be_resumed;"
        "assert not {'torch', 'wandb', 'ultralytics'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, timeout=60)
