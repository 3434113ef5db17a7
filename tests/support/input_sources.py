"""The inputs of a training that did not take place."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from wandb_server import StoredArtifact, StoredRun

from ultralytics_wb_ddp.artifacts.inputs import InputSources


def sources_of(
    file: Path,
    save_dir: Path,
    *,
    data: str | None = None,
    data_uri: str | None = None,
    goes_on: bool = False,
    network: Any = None,
    **given: Any,
) -> InputSources:
    """Return the sources of a training as far as they matter here."""
    args = {"data": str(file), "model": "model.yaml", "pretrained": True, "task": "detect", "resume": None, **given}
    checked = {"path": file.parent, "train": str(file.parent / "images/train"), "yaml_file": str(file)}
    trainer = SimpleNamespace(data=checked, args=SimpleNamespace(**args), model=network, save_dir=save_dir)
    save_dir.mkdir(exist_ok=True)
    return InputSources.of_training(trainer, data=data, data_uri=data_uri, goes_on=goes_on)


def save_weights(file: Path, seed: int = 0) -> torch.nn.Module:
    """Write weights to a checkpoint and return a network that holds them."""
    torch.manual_seed(seed)
    network = torch.nn.Linear(16, 16).half()
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": network}, file)
    return network.float()


def inputs_of(run: StoredRun) -> dict[str, StoredArtifact]:
    """Return the inputs of a run by name and version."""
    return {f"{artifact.name}:v{artifact.version}": artifact for artifact in run.used_artifacts}
