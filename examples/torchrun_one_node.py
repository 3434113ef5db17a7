"""Train in processes that torchrun starts on one machine, in one W&B run.

    torchrun --standalone --nproc_per_node 4 examples/torchrun_one_node.py

Without GPUs and an account, in two processes on generated images:

    WANDB_MODE=offline torchrun --standalone --nproc_per_node 2 examples/torchrun_one_node.py --cpu
"""

import sys

from ultralytics import YOLO

from ultralytics_wb_ddp import add_wandb_callback

weights, settings = "yolo11n.pt", {"data": "coco8.yaml", "epochs": 100, "device": [0, 1, 2, 3]}
if "--cpu" in sys.argv:
    from ultralytics_wb_ddp.testing.cpu_trainers import cpu_settings

    weights, settings = "yolo11n.yaml", cpu_settings()

# Each process runs all of this. The script is the same as for a launch by Ultralytics.
model = YOLO(weights)
add_wandb_callback(model, project="demo")
model.train(**settings)
