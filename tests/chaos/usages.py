"""The jobs, as users write them: a script or a job file for each usage, which continues where an earlier life stopped."""

from __future__ import annotations

import json
import sys
from pathlib import Path

RUN_ID = "chaos-run"
PROJECT = "demo"
EPOCHS = 3
INIT_TIMEOUT = FINISH_TIMEOUT = 8.0  # seconds; a fault of the server then holds a job up for a short time only
USAGES = ("A", "B closed", "B open", "C", "D", "E", "F")
PROCESSES = ("1", "2", "torchrun")

# What the campaign must know of a life is told by the job itself: each line of the marks is a statement that was passed.
MARKS = """\
import builtins, json, os, sys, time

LIFE = int(os.environ["CHAOS_LIFE"])
EVENTS = (
    "on_pretrain_routine_start", "on_pretrain_routine_end", "on_train_start", "on_train_epoch_start",
    "on_train_batch_start", "on_train_batch_end", "on_train_epoch_end", "on_val_start", "on_val_end",
    "on_fit_epoch_end", "on_model_save", "on_train_end", "teardown",
)

def mark(what, **facts):
    rank = max(int(os.environ.get("RANK", "-1")), 0)
    line = json.dumps({"what": what, "life": LIFE, "at": time.time(), "pid": os.getpid(), "rank": rank, **facts})
    with open(os.environ["CHAOS_MARKS"], "a") as file:
        file.write(line + "\\n")

def note(place, event, trainer):
    epoch = getattr(trainer, "epoch", None)
    mark(f"{place} {event}", epoch=epoch)
    wanted = json.loads(os.environ.get("CHAOS_RAISE", "{}"))
    here = dict(place=place, event=event, rank=max(int(os.environ.get("RANK", "-1")), 0))
    if all(wanted.get(name) == value for name, value in here.items()) and epoch in (None, wanted["epoch"]):
        mark("raised")
        raise getattr(builtins, wanted["error"])(3)
"""
HEAD = f"""\
{MARKS}
from ultralytics import YOLO
from ultralytics_wb_ddp import (
    TrainingState, WandbManager, add_wandb_callback, callbacks, is_main_process, train_distributed, wandb_config,
    wandb_init,
)
from ultralytics_wb_ddp.testing.cpu_trainers import CpuDDPTrainer

LIMITS = dict(init_timeout={INIT_TIMEOUT}, finish_timeout={FINISH_TIMEOUT})

def watch(model, place):
    def watcher(event):
        return lambda trainer: note(place, event, trainer)
    for event in EVENTS:
        model.add_callback(event, watcher(event))

SETTINGS = dict(data=os.environ["DATA"], epochs={EPOCHS}, imgsz=64, batch=8, workers=0, plots=False)
SETTINGS.update(project=os.getcwd(), name=os.environ["CHAOS_NAME"], exist_ok=True, deterministic=False)
state = TrainingState.of(os.environ["CHAOS_NAME"])

def make_model():
    return YOLO(state.checkpoint if state.can_be_resumed else os.environ["MODEL"])
"""
TRAIN = {
    "1": 'model.train(resume=state.can_be_resumed, device="cpu", **SETTINGS)',
    "2": 'model.train(resume=state.can_be_resumed, trainer=CpuDDPTrainer, device="0,1", **SETTINGS)',
    "torchrun": 'train_distributed(model, resume=state.can_be_resumed, trainer=CpuDDPTrainer, device="0,1", **SETTINGS)',
}
OWN_RUN = f"""
run = None
if is_main_process():
    import wandb
    run = wandb.init(project="{PROJECT}", id="{RUN_ID}", resume="allow", settings=wandb.Settings(**LIMITS))
    mark("opened")
    run.log({{"user/before": LIFE}})
    mark("before")
if state.is_over:
    state.finish_run(**LIMITS)
else:
    model = make_model()
    watch(model, "before")
    add_wandb_callback(model, run=run, **LIMITS)
    watch(model, "after")
    mark("registered")
    TRAIN
mark("trained")
if run:
    run.log({{"user/after": LIFE}})
    mark("after")
    run.finish()
mark("closed")
"""
MANAGER = f"""
cfg = {{"wandb": {{"project": "{PROJECT}", "id": "{RUN_ID}", "keep_open": KEEP_OPEN, **LIMITS}}}}
with WandbManager(cfg, "job") as manager:
    mark("opened")
    manager.save_config(cfg)
    if manager.run:
        manager.run.log({{"user/before": LIFE}})
        mark("before")
    if state.is_over:
        state.finish_run(**LIMITS)
    else:
        model = make_model()
        watch(model, "before")
        add_wandb_callback(model)
        watch(model, "after")
        mark("registered")
        manager.prepare_for_training()
        TRAIN
        manager.resume_after_training()
    mark("trained")
    if manager.run:
        manager.run.log({{"user/after": LIFE}})
        mark("after")
mark("closed")
"""
PROGRAM = f"""
with wandb_init(project="{PROJECT}", id="{RUN_ID}", **LIMITS) as run:
    mark("opened")
    if run:
        run.log({{"user/before": LIFE}})
        mark("before")
    if state.is_over:
        state.finish_run(**LIMITS)
    else:
        model = make_model()
        watch(model, "before")
        add_wandb_callback(model)
        watch(model, "after")
        mark("registered")
        TRAIN
    mark("trained")
    if run:
        run.log({{"user/after": LIFE}})
        mark("after")
mark("closed")
"""
CALLBACK = """
with wandb_config(**LIMITS):
    if state.is_over:
        state.finish_run()
    else:
        model = make_model()
        watch(model, "before")
        REGISTER
        watch(model, "after")
        mark("registered")
        TRAIN
mark("trained")
mark("closed")
"""
ADD = f'add_wandb_callback(model, project="{PROJECT}")'
BY_HAND = "for event, function in callbacks.items(): model.add_callback(event, function)"


# A job file, and a script that knows nothing of W&B, have no callbacks, but they can name a trainer of the user's.
TRAINER = f"""\
{MARKS}
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics_wb_ddp.testing.cpu_trainers import CpuDDPMixin

class WatchedTrainer(CpuDDPMixin, DetectionTrainer):
    def run_callbacks(self, event):
        note("before", event, self)
        super().run_callbacks(event)
        note("after", event, self)
"""


NO_CALLBACK = """
from watched_trainer import WatchedTrainer

if state.is_over:
    state.finish_run(**LIMITS)
else:
    model = make_model()
    mark("registered")
    TRAIN
mark("trained")
mark("closed")
"""


def write(directory: Path, name: str, usage: str, processes: str, *, by_hand: bool = False) -> None:
    """Write the files of a job.

    Args:
        directory: Directory of the job.
        name: Name of the training.
        usage: The usage.
        processes: "1", "2" or "torchrun".
        by_hand: Whether usage C registers the callbacks by hand.
    """
    if usage in {"D", "E"}:
        (directory / "watched_trainer.py").write_text(TRAINER, encoding="utf-8")
    if usage == "D":
        (directory / f"{name}.yaml").write_text(_job(directory, name, processes), encoding="utf-8")
        return
    bodies = {
        "A": OWN_RUN,
        "B closed": MANAGER.replace("KEEP_OPEN", "False"),
        "B open": MANAGER.replace("KEEP_OPEN", "True"),
        "F": PROGRAM,
        "C": CALLBACK.replace("REGISTER", BY_HAND if by_hand else ADD),
        "E": NO_CALLBACK,
    }
    training = TRAIN[processes]
    if usage == "E":
        training = training.replace("trainer=CpuDDPTrainer, ", "").replace(
            "train(", "train(trainer=WatchedTrainer, ", 1
        )
        training = training.replace("train_distributed(model", "train_distributed(model, trainer=WatchedTrainer", 1)
    script = HEAD + bodies[usage].replace("TRAIN\n", training + "\n")
    (directory / f"{name}.py").write_text(script, encoding="utf-8")


def _job(directory: Path, name: str, processes: str) -> str:
    """Return a job file; YAML is a superset of JSON."""
    place = {"project": str(directory), "name": name, "exist_ok": True}
    settings = {"epochs": EPOCHS, "imgsz": 64, "batch": 8, "workers": 0, "plots": False, "deterministic": False}
    launch = {"device": "cpu" if processes == "1" else "0,1", "trainer": "watched_trainer:WatchedTrainer"}
    run = {"project": PROJECT, "id": RUN_ID, "init_timeout": INIT_TIMEOUT, "finish_timeout": FINISH_TIMEOUT}
    train = {"data": "${oc.env:DATA}", **settings, **place, **launch}
    return json.dumps({"name": "job", "wandb": run, "model": "${oc.env:MODEL}", "train": train}, indent=2)


def words(directory: Path, name: str, usage: str) -> list[str]:
    """Return the words that start a job, after those of Python or torchrun; a job file is told to continue."""
    if usage == "E":
        limits = ["--init-timeout", str(INIT_TIMEOUT), "--finish-timeout", str(FINISH_TIMEOUT)]
        command = [sys.executable, str(directory / f"{name}.py")]
        return ["-m", "ultralytics_wb_ddp.cli", "run", "--project", PROJECT, *limits, "--", *command]
    if usage != "D":
        return [str(directory / f"{name}.py")]
    checkpoint = f"{name}/weights/last.pt"
    again = ["train.resume=true", f"model={checkpoint}"] if (directory / checkpoint).exists() else []
    return ["-m", "ultralytics_wb_ddp.cli", "train", f"{name}.yaml", *again]


def environment(usage: str) -> dict[str, str]:
    """Return the variables by which a job keeps its run when it is started again; A and B name it themselves."""
    return {"WANDB_RUN_ID": RUN_ID, "WANDB_PROJECT": PROJECT} if usage in {"C", "E"} else {}
