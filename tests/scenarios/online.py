"""The life of a manager's run, around a training in two processes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cloudpickle
import psutil

from scenarios.common import CFG, TWO_PROCESSES, new_model, run_named
from ultralytics_wb_ddp import WandbManager, add_wandb_callback

OPTIONS = {"tags": ["baseline"], "notes": "what it is about", "job_type": "train"}


def collect(_: Any) -> None:
    """Collect the start files and pickles of the launch, which are deleted afterwards, and all argument lists."""
    if os.environ["RANK"] == "0":
        target = Path("collected")
        target.mkdir()
        for number, file in enumerate(Path(os.environ["YOLO_CONFIG_DIR"]).rglob("*")):
            if file.is_file():
                (target / f"{number}-{file.name}").write_bytes(file.read_bytes())
        words = [word for process in psutil.process_iter(["cmdline"]) for word in process.info["cmdline"] or ()]
        (target / "arguments").write_text("\n".join(words), encoding="utf-8")


def close_and_take_back(*parts_of_key: str) -> None:
    """Train with a config that holds the API key, after all that a launcher does with a config and a run."""
    key = "".join(parts_of_key)
    cfg = {"wandb": {**CFG["wandb"], **OPTIONS, "api_key": key}, "nested": [key]}
    model = new_model()
    model.add_callback("on_train_start", collect)
    with WandbManager(cfg, "my-training", "exp-1") as manager:
        print(manager.config)
        manager.save_config(cfg)
        manager.save_training_job_metadata(cfg)
        manager.run.config.update({"epochs": 99})
        for _ in range(3):
            manager.run.log({"before": 1})
        Path("manager.pickle").write_bytes(cloudpickle.dumps(add_wandb_callback(model)))
        manager.prepare_for_training()
        assert manager.run is None
        model.train(**TWO_PROCESSES)
        run = manager.resume_after_training()
        run.log({"after": 1})


def fail_in_epoch_2(trainer: Any) -> None:
    if trainer.epoch == 1 and os.environ["RANK"] == "0":
        msg = "the training's own fault"
        raise RuntimeError(msg)


def fail_with_closed_run() -> None:
    model = new_model()
    model.add_callback("on_train_epoch_start", fail_in_epoch_2)
    with WandbManager(CFG, "job") as manager:
        manager.run.log({"before": 1})
        add_wandb_callback(model)
        manager.prepare_for_training()
        model.train(**TWO_PROCESSES)


if __name__ == "__main__":
    run_named(globals())
