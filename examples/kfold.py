"""Cross-validate: a W&B run for each of five folds, and one with mean and standard deviation of the metrics.

    python examples/kfold.py

Without GPUs and an account, two folds on generated images:

    WANDB_MODE=offline python examples/kfold.py --cpu

Restart it after an interruption to continue: finished folds are skipped, and the interrupted fold continues from its
last checkpoint, in its run. If a fold was interrupted after its last epoch, only its run is finished.
"""

import sys
from pathlib import Path

from ultralytics import YOLO

from ultralytics_wb_ddp import TrainingState, WandbManager, add_wandb_callback, kfold

folds, weights, settings = 5, "yolo11n.pt", {"data": "coco8.yaml", "epochs": 100, "device": [0, 1, 2, 3]}
if "--cpu" in sys.argv:
    from ultralytics_wb_ddp.testing.cpu_trainers import cpu_settings

    folds, weights, settings = 2, "yolo11n.yaml", cpu_settings(device="cpu")

name = f"{folds}-fold"
datasets = kfold(settings.pop("data"), folds, name)  # data YAMLs with lists of images, in the directory of that name
with WandbManager.group({"wandb": {"project": "demo"}}, name, runs=folds, resume=True) as group:
    for fold, manager in group:
        directory = Path("runs", name, f"fold-{fold}").resolve()
        state = TrainingState.of(directory)
        with manager:
            if state.is_over:
                state.finish_run()
                continue
            model = YOLO(state.checkpoint if state.can_be_resumed else weights)
            add_wandb_callback(model)
            manager.prepare_for_training()
            location = {"project": str(directory.parent), "name": directory.name, "exist_ok": True}
            model.train(data=str(datasets[fold]), resume=state.can_be_resumed, **location, **settings)
            manager.resume_after_training()
for metric, numbers in group.statistics.items():
    print(f"{metric}: {numbers}, from {numbers.min:.3f} to {numbers.max:.3f} (n={numbers.n})")
