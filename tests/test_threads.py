"""Trainings outside of the main thread, where engines such as Flyte and Ray have them, also beside each other."""

from __future__ import annotations

import pytest

from support.jobs import END, EPOCHS, Job, RunJob

SCRIPT = """
import threading
from ultralytics_wb_ddp import get_wandb_run

first_trains, both_train = threading.Event(), threading.Barrier(2, timeout=60)

def train(name):
    model = YOLO(os.environ["MODEL"])
    add_wandb_callback(model, project="demo", name=name)
    def meet(trainer):
        both_train.wait()
        get_wandb_run().summary["seen_by"] = name
        both_train.wait()
        if name == "fails" and trainer.epoch == 1:
            raise RuntimeError("in the second epoch")
    model.add_callback("on_train_start", lambda trainer: first_trains.set())
    model.add_callback("on_train_epoch_end", meet)
    model.train(**{**ONE_PROCESS, "name": name})

threads = [threading.Thread(target=train, args=[name]) for name in ("works", "fails")]
for thread in threads:
    thread.start()
    first_trains.wait(60)
for thread in threads:
    thread.join()
"""


@pytest.fixture(scope="module")
def threads(run_job: RunJob) -> Job:
    return run_job(SCRIPT)


@pytest.mark.parametrize(
    ("name", "epochs", "state", "exit_code"), [("works", [*EPOCHS, END], "finished", 0), ("fails", [1], "failed", 1)]
)
def test_training_in_a_thread_has_a_run_of_its_own(
    threads: Job, name: str, epochs: list[int], state: str, exit_code: int
) -> None:
    (run,) = (run for run in threads.runs if run.name == name)

    assert [row["epoch"] for row in run.history] == epochs
    assert (run.state, run.exit_code) == (state, exit_code)


@pytest.mark.parametrize("name", ["works", "fails"])
def test_each_thread_is_given_the_run_of_its_training(threads: Job, name: str) -> None:
    (run,) = (run for run in threads.runs if run.name == name)

    assert run.summary["seen_by"] == name
