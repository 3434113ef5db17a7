"""Train on two nodes with torchrun, in one W&B run.

Start the script on each node, with its number as --node_rank and the first node's name as --master_addr:

    torchrun --nnodes 2 --node_rank 0 --nproc_per_node 4 --master_addr node1 --master_port 29500 torchrun_two_nodes.py

--nproc_per_node is the number of GPUs of a node. With --cpu the processes share the CPU and generated images; try it on
one machine, in two terminals, with --nproc_per_node 1 --master_addr 127.0.0.1 and --node_rank 0 and 1.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ultralytics import YOLO

from ultralytics_wb_ddp import add_wandb_callback, train_distributed


def main() -> None:
    """Train; each process of each node runs this."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="coco8.yaml", help="dataset, under the same path on both nodes")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--cpu", action="store_true", help="no GPU: a few generated images, gloo")
    options = parser.parse_args()

    arguments = {"data": options.data, "epochs": options.epochs, "batch": 64}
    weights = "yolo11n.pt"
    if options.cpu:
        from ultralytics_wb_ddp.testing import CpuDDPTrainer, make_shapes_dataset

        images = make_shapes_dataset(f"shapes-{os.environ['RANK']}", images=16, classes=2)
        arguments |= {"data": str(images), "trainer": CpuDDPTrainer, "imgsz": 64, "batch": 16}
        weights = "yolo11n.yaml"

    model = YOLO(weights)
    add_wandb_callback(model, project="two-nodes", mode="offline" if options.cpu else None)
    metrics = train_distributed(model, project=Path("runs").resolve(), name="train", **arguments)
    if metrics is not None:  # rank 0
        print(f"mAP50-95: {metrics.box.map:.3f}")


if __name__ == "__main__":
    main()
