"""Two trainings beside each other in threads, one of which fails."""

from __future__ import annotations

import threading
from typing import Any

from scenarios.common import ONE_PROCESS, new_model, run_named
from ultralytics_wb_ddp import add_wandb_callback, get_wandb_run

first_trains, both_train = threading.Event(), threading.Barrier(2, timeout=60)


def train(name: str) -> None:
    model = new_model()
    add_wandb_callback(model, project="demo", name=name)

    def meet(trainer: Any) -> None:
        both_train.wait()
        get_wandb_run().summary["seen_by"] = name
        both_train.wait()
        if name == "fails" and trainer.epoch == 1:
            msg = "in the second epoch"
            raise RuntimeError(msg)

    model.add_callback("on_train_start", lambda _: first_trains.set())
    model.add_callback("on_train_epoch_end", meet)
    model.train(**{**ONE_PROCESS, "name": name})


def train_side_by_side() -> None:
    threads = [threading.Thread(target=train, args=[name]) for name in ("works", "fails")]
    for thread in threads:
        thread.start()
        first_trains.wait(60)
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    run_named(globals())
