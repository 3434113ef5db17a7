"""Train any PyTorch model with DDP, and choose which of its ranks log to W&B.

On each node, with torchrun's options for several nodes where there are several:

    torchrun --nproc-per-node 2 examples/distributed.py --log_strategy main --group_name my-experiment

"main" logs on rank 0, "node" on one rank of each node, and "all" on every rank, to a run each in one group.

Without GPUs and an account:

    export WANDB_MODE=offline
    torchrun --nproc-per-node 2 examples/distributed.py --log_strategy all --group_name my-experiment
"""

import argparse
import os

import torch
import torch.distributed as dist
import wandb
from torch import nn

from ultralytics_wb_ddp import is_main_process, wandb_init

parser = argparse.ArgumentParser()
parser.add_argument("--log_strategy", choices=["main", "node", "all"], default="main")
parser.add_argument("--group_name")
parser.add_argument("--epochs", type=int, default=3)
args = parser.parse_args()

with wandb_init(project="demo", strategy=args.log_strategy, group=args.group_name, config=vars(args)) as run:
    has_gpu = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if has_gpu else torch.device("cpu")
    dist.init_process_group("nccl" if has_gpu else "gloo", device_id=device if has_gpu else None)
    generator = torch.Generator().manual_seed(dist.get_rank())  # each rank has its own part of the data
    images = torch.rand(64, 3, 16, 16, generator=generator).to(device)
    brightness = images.mean((1, 2, 3))[:, None]
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 14 * 14, 1)).to(device)
    model = nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    for epoch in range(args.epochs):
        loss = nn.functional.mse_loss(model(images), brightness)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if run:  # None on a rank that does not log
            run.log({"epoch": epoch + 1, "loss": loss.item()})
    dist.barrier()  # every rank has trained to the end
    if run and is_main_process():
        torch.save({"model": model.module.state_dict(), "optimizer": optimizer.state_dict()}, "checkpoint.pt")
        checkpoint = wandb.Artifact("distributed-checkpoint", type="model")
        checkpoint.add_file("checkpoint.pt")
        run.log_artifact(checkpoint)
    dist.destroy_process_group()
