"""Log a training in four processes into the W&B run of your script (usage A).

    python examples/own_run.py

Without GPUs and an account, in two processes on generated images:

    WANDB_MODE=offline python examples/own_run.py --cpu
"""

import sys

import wandb
from ultralytics import YOLO

from ultralytics_wb_ddp import add_wandb_callback

weights, settings = "yolo11n.pt", {"data": "coco8.yaml", "epochs": 100, "device": [0, 1, 2, 3]}
if "--cpu" in sys.argv:
    from ultralytics_wb_ddp.testing.cpu_trainers import cpu_settings

    weights, settings = "yolo11n.yaml", cpu_settings()

run = wandb.init(project="demo")
model = YOLO(weights)
add_wandb_callback(model, run=run)
model.train(**settings)  # rank 0 logs into the run, which stays open
run.log({"after": "the same run"})
run.finish()
