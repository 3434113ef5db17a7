"""Cross-validate YOLO: a W&B run for each fold, and one with mean and standard deviation of the metrics.

    python kfold.py --data coco8.yaml --folds 5 --device 0,1

Started again after an interruption it goes on: folds that have finished are left out, the one that was interrupted
continues from its last checkpoint, in its run. With --cpu it trains on generated images on the CPU.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ultralytics import YOLO

from ultralytics_wb_ddp import WandbManager, add_wandb_callback, kfold


def main() -> None:
    """Train a model on each fold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="coco8.yaml")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--device", default="0")
    parser.add_argument("--cpu", action="store_true", help="no GPU: a few generated images")
    options = parser.parse_args()

    weights, arguments = "yolo11n.pt", {"epochs": options.epochs, "device": options.device}
    if options.cpu:
        from ultralytics_wb_ddp.testing import make_shapes_dataset

        options.data = make_shapes_dataset("shapes", images=16, classes=2)
        weights = "yolo11n.yaml"
        arguments |= {"device": "cpu", "imgsz": 64, "batch": 8, "workers": 0, "plots": False}

    cfg = {"wandb": {"project": "kfold", "mode": "offline" if options.cpu else "online"}}
    name = f"{options.folds}-fold"
    datasets = kfold(options.data, options.folds, name)
    with WandbManager.group(cfg, name, runs=options.folds, resume=True) as group:
        for fold, manager in group:
            last = Path(f"runs/{name}/fold-{fold}/weights/last.pt").resolve()
            with manager:
                model = YOLO(last if last.exists() else weights)
                add_wandb_callback(model)
                manager.prepare_for_training()
                place = {"project": str(last.parents[2]), "name": f"fold-{fold}", "exist_ok": True}
                model.train(data=str(datasets[fold]), resume=last.exists(), **place, **arguments)
                manager.resume_after_training()
    for metric, numbers in group.statistics.items():
        print(f"{metric}: {numbers}, from {numbers.min:.3f} to {numbers.max:.3f} (n={numbers.n})")


if __name__ == "__main__":
    main()
