"""Register the callbacks one by one, as for Ultralytics' own, and add your own callback (usage C).

    python examples/callbacks_by_hand.py

Without GPUs and an account, in two processes on generated images:

    WANDB_MODE=offline python examples/callbacks_by_hand.py --cpu
"""

import sys

from ultralytics import YOLO

from ultralytics_wb_ddp import callbacks, get_wandb_run

weights, settings = "yolo11n.pt", {"data": "coco8.yaml", "epochs": 100, "device": [0, 1, 2, 3]}
if "--cpu" in sys.argv:
    from ultralytics_wb_ddp.testing.cpu_trainers import cpu_settings

    weights, settings = "yolo11n.yaml", cpu_settings()


def log_batches(trainer):
    """Log your own metric; every rank calls this function, and only the logging rank has a run."""
    run = get_wandb_run()
    if run:
        run.log({"my/batches": len(trainer.train_loader), "epoch": trainer.epoch + 1})  # the axis of all charts


model = YOLO(weights)
for event, function in callbacks.items():
    model.add_callback(event, function)
model.add_callback("on_train_epoch_end", log_batches)
model.train(project="demo", name="by-hand", **settings)  # also the name of the run, because the script has no run
