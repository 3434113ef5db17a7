"""Train in the workers of Ray Train's TorchTrainer, in one W&B run that goes on after a failure.

Needs the extra "ray", and a directory that all machines share; here for four GPUs:

    python examples/ray_train.py --data /shared/coco8.yaml --runs /shared/runs

Without a cluster, GPUs and an account, in two processes on generated images:

    WANDB_MODE=offline python examples/ray_train.py --cpu

Ray starts the processes and creates their process group. If one of them fails, Ray restarts all of them, and the
training continues from its last checkpoint, in the same run. Not tested with GPUs or with several machines.
"""

import argparse
import os
import time
from pathlib import Path

from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer


def train(job: dict) -> None:
    """Train in each process of Ray."""
    from ultralytics import YOLO

    from ultralytics_wb_ddp import TrainingState, add_wandb_callback, train_distributed

    os.environ.update(WANDB_PROJECT="demo", WANDB_RUN_ID=job["name"])  # the same at each restart by Ray
    state = TrainingState.of(Path(job["runs"], job["name"]))
    if state.is_over:
        print(state)
        state.finish_run()  # if the job was killed after its last epoch
        return
    model = YOLO(state.checkpoint if state.can_be_resumed else job["weights"])
    add_wandb_callback(model)
    location = {"project": job["runs"], "name": job["name"], "exist_ok": True}
    train_distributed(model, resume=state.can_be_resumed, **location, **job["settings"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", default=time.strftime("job-%Y%m%d-%H%M%S"), help="a previous name continues its job")
    parser.add_argument("--data", default="coco8.yaml")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--cpu", action="store_true")
    args = parser.parse_args()
    processes, weights, settings = 4, "yolo11n.pt", {"data": args.data, "epochs": args.epochs, "batch": 64}
    if args.cpu:
        from ultralytics_wb_ddp.testing.cpu_trainers import cpu_settings

        processes, weights, settings = 2, "yolo11n.yaml", {**cpu_settings(device=None), "epochs": args.epochs}

    job = {"name": args.name, "runs": str(Path(args.runs).resolve()), "weights": weights, "settings": settings}
    scaling = ScalingConfig(num_workers=processes, use_gpu=not args.cpu)
    config = RunConfig(storage_path=f"{job['runs']}/ray", failure_config=FailureConfig(max_failures=1))
    TorchTrainer(train, train_loop_config=job, scaling_config=scaling, run_config=config).fit()
