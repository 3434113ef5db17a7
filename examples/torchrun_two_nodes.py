"""Train on two machines (nodes) with torchrun, in one W&B run.

Run the same command on each node, with its own --node_rank and the name of the first node; here for four GPUs each:

    torchrun --nnodes 2 --node_rank 0 --master_addr node1 --nproc_per_node 4 examples/torchrun_two_nodes.py

Without GPUs and an account, on generated images: as two nodes on one machine, in two terminals

    WANDB_MODE=offline torchrun --nnodes 2 --node_rank 0 --nproc_per_node 1 examples/torchrun_two_nodes.py --cpu
    WANDB_MODE=offline torchrun --nnodes 2 --node_rank 1 --nproc_per_node 1 examples/torchrun_two_nodes.py --cpu
"""

import sys
from pathlib import Path

from ultralytics import YOLO

from ultralytics_wb_ddp import add_wandb_callback, train_distributed

weights, settings = "yolo11n.pt", {"data": "coco8.yaml", "epochs": 100, "batch": 64}  # the batch of all processes
if "--cpu" in sys.argv:
    from ultralytics_wb_ddp.testing.cpu_trainers import cpu_settings

    weights, settings = "yolo11n.yaml", cpu_settings(device=None)

# Each process of each node runs all of this.
model = YOLO(weights)
add_wandb_callback(model, project="demo")
metrics = train_distributed(model, project=Path("runs").resolve(), name="train", **settings)
if metrics is not None:  # rank 0
    print(f"mAP50-95: {metrics.box.map:.3f}")
