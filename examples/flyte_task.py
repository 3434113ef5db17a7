"""Train in a Flyte task, on all GPUs of its machine, in the task's W&B run.

Needs the extra "flyte":

    flyte run examples/flyte_task.py train --data coco8.yaml

Without a cluster, GPUs and an account, in two processes on generated images:

    WANDB_MODE=offline python examples/flyte_task.py --cpu

The plugin creates the run, Ultralytics starts the processes, and rank 0 logs into that run. If the training fails, the
run is failed. Not tested on a cluster: image, GPUs and secret follow Flyte's documentation.
"""

import sys

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
def train(data: str = "coco8.yaml", epochs: int = 100) -> str:
    """Train, and return the id of the run."""
    weights, settings = "yolo11n.pt", {"data": data, "epochs": epochs, "device": [0, 1, 2, 3]}
    if "--cpu" in sys.argv:
        from ultralytics_wb_ddp.testing.cpu_trainers import cpu_settings

        weights, settings = "yolo11n.yaml", cpu_settings()

    run = get_wandb_run()  # the plugin's; it is not wandb.run
    model = YOLO(weights)
    add_wandb_callback(model, run=run)
    model.train(**settings)
    run.summary["weights"] = str(model.trainer.best)
    return run.id


if __name__ == "__main__":
    flyte.init()
    result = flyte.with_runcontext(mode="local").run(train)
    print("run", result.outputs().o0)
