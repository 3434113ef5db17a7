"""Search learning rates: a sweep whose trials are a function, two at a time on two GPUs each, a W&B run for each.

    python examples/sweep.py

Without GPUs, on generated images. It still needs an account: W&B's server chooses the parameters.

    python examples/sweep.py --cpu

With a job instead of a function no script is needed: see sweep.yaml.
"""

import sys

import wandb
from ultralytics import YOLO

from ultralytics_wb_ddp import add_wandb_callback, run_sweep

trials, weights, settings = 20, "yolo11n.pt", {"data": "coco8.yaml", "epochs": 100}
if "--cpu" in sys.argv:
    from ultralytics_wb_ddp.testing.cpu_trainers import cpu_settings

    trials, weights, settings = 2, "yolo11n.yaml", cpu_settings(device=None)

SWEEP = {
    "project": "demo",
    "method": "random",
    "metric": {"name": "metrics/mAP50-95(B)", "goal": "maximize"},
    "parameters": {"lr0": {"min": 0.001, "max": 0.1}},
}


def trial(parameters):
    """Train with the parameters of a trial (lr0 and devices), in a separate process."""
    run = wandb.init()
    model = YOLO(weights)
    add_wandb_callback(model, run=run)
    model.train(optimizer="SGD", **settings, **parameters)  # with optimizer="auto" lr0 would be ignored


if __name__ == "__main__":
    sweep = run_sweep(SWEEP, trial, count=trials, agents=2, devices=[0, 1, 2, 3])
    print(f"{len(sweep.trials)} trials: {sweep.url}")
