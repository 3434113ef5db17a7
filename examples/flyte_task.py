"""Train in a Flyte task, on all GPUs of its machine, in the task's W&B run.

Needs the extra "flyte". Here, without a cluster and a GPU, in two processes; and on a cluster, with four GPUs:

    WANDB_MODE=offline python flyte_task.py --cpu --weights yolo11n.yaml
    flyte run flyte_task.py train --data coco8.yaml

The plugin makes the run, Ultralytics starts the processes, and the first of them logs into that run. When the training
fails, so does the run. It was not tried on a cluster: image, GPUs and secret are as Flyte documents them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import flyte
from flyteplugins.wandb import get_wandb_run, wandb_init
from ultralytics import YOLO

from ultralytics_wb_ddp import add_wandb_callback

image = flyte.Image.from_debian_base().with_pip_packages("ultralytics-wb-ddp[flyte]")
environment = flyte.TaskEnvironment(
    "yolo",
    image=image,
    resources=flyte.Resources(gpu=4, shm="auto"),
    secrets=[flyte.Secret(key="wandb_api_key", as_env_var="WANDB_API_KEY")],
)


@wandb_init(project="demo")  # the outermost decorator
@environment.task
def train(data: str = "coco8.yaml", weights: str = "yolo11n.pt", epochs: int = 100, *, cpu: bool = False) -> str:
    """Train, and return the id of the run."""
    arguments = {"data": data, "device": [0, 1, 2, 3], "batch": 64}
    if cpu:
        from ultralytics_wb_ddp.testing import CpuDDPTrainer, make_shapes_dataset

        images = make_shapes_dataset("shapes", images=16, classes=2)
        arguments = {"data": str(images), "device": "0,1", "trainer": CpuDDPTrainer, "imgsz": 64, "batch": 8}

    run = get_wandb_run()  # the plugin's; it is not wandb.run
    model = YOLO(weights)
    add_wandb_callback(model, run=run)
    model.train(epochs=epochs, project=str(Path("runs").resolve()), name="train", **arguments)
    run.summary["weights"] = str(model.trainer.best)
    return run.id


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="coco8.yaml")
    parser.add_argument("--weights", default="yolo11n.pt")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--cpu", action="store_true")
    flyte.init()
    done = flyte.with_runcontext(mode="local").run(train, **vars(parser.parse_args()))
    print("run", done.outputs().o0)
