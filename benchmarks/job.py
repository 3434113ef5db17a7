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
    what = json.loads(sys.argv[1])
    who, options = what["who"], what["options"]
    from ultralytics import YOLO, settings

    settings.update({"wandb": who in {"stock", "stock+run"}})
    import timed_trainers

    model = YOLO(what["model"])
    trainer: Any = getattr(timed_trainers, what["trainer"])
    held: Any = nullcontext()
    if who in {"attach", "stock+run"}:
        import wandb

        held = wandb.init(project="benchmark", dir=".")
    if who in {"attach", "new", "resume"}:
        from ultralytics_wb_ddp import WandbManager, add_wandb_callback

        if who == "resume":
            held = WandbManager({"wandb": {"project": "benchmark", **options}}, "benchmark")
        else:
            add_wandb_callback(model, run=held if who == "attach" else None, project="benchmark", **options)
    elif who == "wandb":
        import wandb
        from wandb.integration.ultralytics import add_wandb_callback as add_theirs

        held = wandb.init(project="benchmark", dir=".")
        add_theirs(model)
    with held as manager:
        if who == "resume":
            add_wandb_callback(model)
            manager.prepare_for_training()
        begun = time.perf_counter()
        model.train(trainer=trainer, **what["train"])
        seconds = time.perf_counter() - begun
        if who == "resume":
            manager.resume_after_training()
    Path("train.json").write_text(json.dumps({"seconds": seconds}), encoding="utf-8")


if __name__ == "__main__":
    main()
