"""A training in a thread, within a block of settings."""

from __future__ import annotations

import threading
from contextvars import copy_context

from scenarios.common import TWO_PROCESSES, new_model, run_named
from ultralytics_wb_ddp import WandbManager, add_wandb_callback, wandb_config


def train_in_a_thread(usage: str) -> None:
    model = new_model()
    with wandb_config(project="block", tags=["a"], mode="offline", mistakes=0, checkpoints="none"):
        if usage == "manager":
            manager = WandbManager({"wandb": {"tags": ["b"]}}, "job")
            manager.initialize()
            add_wandb_callback(model)
        else:
            add_wandb_callback(model, tags=["b"])
        thread = threading.Thread(target=copy_context().run, args=(model.train,), kwargs=TWO_PROCESSES)
        thread.start()
        thread.join()
        if usage == "manager":
            manager.finish()


if __name__ == "__main__":
    run_named(globals())
