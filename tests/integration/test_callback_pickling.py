"""The callback on its way to the workers: plain configuration that opens nothing where it arrives."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import cloudpickle
import pytest
import wandb
from ultralytics import YOLO

from support.paths import TINY
from ultralytics_wb_ddp import add_wandb_callback
from ultralytics_wb_ddp.runs import stop_button

ARRIVE = "import sys, pickle; pickle.load(sys.stdin.buffer); print('wandb' in sys.modules)"


@pytest.mark.usefixtures("no_s3")
def test_callback_travels_as_plain_configuration_and_opens_nothing_where_it_arrives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stop_button, "training_started", threading.Event())
    wandb.teardown()
    model = YOLO(str(TINY))
    with wandb.init(project="demo", mode="offline", dir=str(tmp_path)) as run:
        add_wandb_callback(model, run=run, tags=["a"])
        sealed = cloudpickle.dumps(dict(model.callbacks))
        done = subprocess.run([sys.executable, "-c", ARRIVE], input=sealed, stdout=subprocess.PIPE, check=True)

    assert len(sealed) < 20_000
    assert run.id.encode() in sealed
    assert done.stdout.splitlines()[-1] == b"False"
