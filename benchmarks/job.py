"""One training as somebody's script has it; run with a JSON of what is to be trained and who logs it.

Who logs: ``bare``: nobody. ``stock``: the callback of Ultralytics. ``stock+run``: the same, beside a run of the
script's. ``wandb``: W&B's own integration. Ours: ``new``, ``attach`` (usage A), ``resume`` (usage B).
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any


def main() -> None:
    """Train once, and say how long ``model.train`` took."""
    request = json.loads(sys.argv[1])
    logger, options = request["logger"], request["options"]
    from ultralytics import YOLO, settings

    settings.update({"wandb": logger in {"stock", "stock+run"}})
    import timed_trainers

    model = YOLO(request["model"])
    trainer: Any = getattr(timed_trainers, request["trainer"])
    held: Any = nullcontext()
    if logger in {"attach", "stock+run"}:
        import wandb

        held = wandb.init(project="benchmark", dir=".")
    if logger in {"attach", "new", "resume"}:
        from ultralytics_wb_ddp import WandbManager, add_wandb_callback

        if logger == "resume":
            held = WandbManager({"wandb": {"project": "benchmark", **options}}, "benchmark")
        else:
            add_wandb_callback(model, run=held if logger == "attach" else None, project="benchmark", **options)
    elif logger == "wandb":
        import wandb
        from wandb.integration.ultralytics import add_wandb_callback as add_theirs

        held = wandb.init(project="benchmark", dir=".")
        add_theirs(model)
    with held as manager:
        if logger == "resume":
            add_wandb_callback(model)
            manager.prepare_for_training()
        begun = time.perf_counter()
        model.train(trainer=trainer, **request["train"])
        seconds = time.perf_counter() - begun
        if logger == "resume":
            manager.resume_after_training()
    Path("train.json").write_text(json.dumps({"seconds": seconds}), encoding="utf-8")


if __name__ == "__main__":
    main()
