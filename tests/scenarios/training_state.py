"""Trainings that are killed, and whose runs the process that has survived finishes."""

from __future__ import annotations

import os
import signal
from typing import Any

from ultralytics import YOLO

from scenarios.common import ONE_PROCESS, last_checkpoint, new_model, run_named
from ultralytics_wb_ddp import TrainingState, add_wandb_callback


def die(_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_in_epoch_2(trainer: Any) -> None:
    if trainer.epoch == 1:
        die(trainer)


def terminate(_: Any) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def interrupt(_: Any) -> None:
    raise KeyboardInterrupt


def train_in_a_child(model: YOLO, **arguments: Any) -> None:
    """Train in a process that will not reach the end, and wait for its end."""
    if os.fork() == 0:
        try:
            model.train(**arguments)
        finally:
            os._exit(1)
    os.wait()


def finish_a_training(end: str) -> None:
    """Finish a training that ended after its last epoch, by a function of this script."""
    model = new_model()
    model.add_callback("on_train_end", globals()[end])
    add_wandb_callback(model, project="demo", checkpoints="best+last")
    train_in_a_child(model, **ONE_PROCESS)

    state = TrainingState.of("train")
    print("FIRST", state.is_run_open, state.finish_run(checkpoints="best"))
    print("SECOND", TrainingState.of("train").is_run_open, TrainingState.of("train").finish_run())


def finish_after_epochs_that_were_not_logged(epochs: str) -> None:
    model = new_model()
    model.add_callback("on_model_save", die_in_epoch_2)
    add_wandb_callback(model, project="demo")
    train_in_a_child(model, **{**ONE_PROCESS, "epochs": int(epochs)})
    if int(epochs) > 2:
        YOLO(last_checkpoint()).train(resume=True)
    print("FINISHED", TrainingState.of("train").finish_run())


if __name__ == "__main__":
    run_named(globals())
