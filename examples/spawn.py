"""Train in processes that the script itself starts with torch.multiprocessing.spawn, in one W&B run.

    python examples/spawn.py

Without GPUs and an account, in two processes on generated images:

    WANDB_MODE=offline python examples/spawn.py --cpu
"""

import sys

import torch
from ultralytics import YOLO

from ultralytics_wb_ddp import ParallelConfig, add_wandb_callback, train_distributed

processes, weights, settings = 4, "yolo11n.pt", {"data": "coco8.yaml", "epochs": 100}
if "--cpu" in sys.argv:
    from ultralytics_wb_ddp.testing.cpu_trainers import cpu_settings

    processes, weights, settings = 2, "yolo11n.yaml", cpu_settings(device=None)


def train(rank):
    """Train as one rank of several."""
    model = YOLO(weights)
    add_wandb_callback(model, project="demo")
    parallel = ParallelConfig(rank=rank, world_size=processes, master_port=29500)
    metrics = train_distributed(model, parallel=parallel, **settings)
    if metrics is not None:  # rank 0
        print(f"mAP50-95: {metrics.box.map:.3f}")


if __name__ == "__main__":
    torch.multiprocessing.spawn(train, nprocs=processes)
