"""Let a manager hold the run of a training from its config to its results (usage B).

    python examples/manager.py

Without GPUs and an account, in two processes on generated images:

    WANDB_MODE=offline python examples/manager.py --cpu
"""

import sys
from pathlib import Path

from ultralytics import YOLO

from ultralytics_wb_ddp import WandbManager, add_wandb_callback

weights, settings = "yolo11n.pt", {"data": "coco8.yaml", "epochs": 100, "device": [0, 1, 2, 3]}
if "--cpu" in sys.argv:
    from ultralytics_wb_ddp.testing.cpu_trainers import cpu_settings

    weights, settings = "yolo11n.yaml", cpu_settings()

cfg = {"wandb": {"project": "demo", "tags": ["baseline"]}, "train": {"model": weights, "epochs": settings["epochs"]}}

with WandbManager(cfg, job_name="my-training", experiment_group_name="exp-1") as manager:  # creates the run
    manager.save_config(cfg)  # as a file of the run; secrets are left out
    manager.save_training_artifacts(Path(__file__))  # files and folders that the training uses
    manager.save_training_job_metadata({"cluster": "a", "ticket": 7})

    model = YOLO(weights)
    add_wandb_callback(model)  # finds the manager's run by itself
    manager.prepare_for_training()  # hands the run over to the training processes
    model.train(**settings)
    manager.resume_after_training()  # takes it back

    manager.run.summary["weights"] = str(model.trainer.best)
    links = manager.links()
    print("the run:", links.run or links.sync_command)
