"""Train in the workers of Ray Train's TorchTrainer, in one W&B run that goes on after a failure.

Needs the extra "ray". Here, without a GPU, in two processes; and on a cluster, with four GPUs and a common directory:

    WANDB_MODE=offline python ray_train.py --cpu --weights yolo11n.yaml
    python ray_train.py --data /shared/coco8.yaml --runs /shared/runs

Ray starts the processes and makes their process group. When one of them fails, Ray starts all of them again, and the
training goes on from its last checkpoint, in the same run. It was not tried with GPUs nor with several machines.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer


def train(job: dict) -> None:
    """Train; each process of Ray's runs this."""
    from ultralytics import YOLO

    from ultralytics_wb_ddp import add_wandb_callback, train_distributed

    arguments = {"data": job["data"], "epochs": job["epochs"], "batch": 64}
    if job["cpu"]:
        from ultralytics_wb_ddp.testing import CpuDDPTrainer

        arguments |= {"trainer": CpuDDPTrainer, "imgsz": 64, "batch": 8}

    os.environ.update(WANDB_PROJECT="demo", WANDB_RUN_ID=job["name"])  # however often Ray starts this
    last = Path(job["runs"], job["name"], "weights/last.pt")
    resume = last.exists()
    model = YOLO(last if resume else job["weights"])
    add_wandb_callback(model)
    train_distributed(model, project=job["runs"], name=job["name"], exist_ok=True, resume=resume, **arguments)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", default=time.strftime("job-%Y%m%d-%H%M%S"), help="an earlier one: go on with it")
    parser.add_argument("--data", default="coco8.yaml")
    parser.add_argument("--weights", default="yolo11n.pt")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--cpu", action="store_true")
    job = vars(parser.parse_args())
    job["runs"] = str(Path(job["runs"]).resolve())  # Ray's workers have working directories of their own
    if job["cpu"]:
        from ultralytics_wb_ddp.testing import make_shapes_dataset

        job["data"] = str(make_shapes_dataset("shapes", images=16, classes=2).resolve())
    scaling = ScalingConfig(num_workers=2 if job["cpu"] else 4, use_gpu=not job["cpu"])
    config = RunConfig(storage_path=f"{job['runs']}/ray", failure_config=FailureConfig(max_failures=1))
    TorchTrainer(train, train_loop_config=job, scaling_config=scaling, run_config=config).fit()
