"""The jobs, as users write them: one script for each usage, which also continues where an earlier life has stopped."""

from __future__ import annotations

RUN_ID = "chaos-run"
PROJECT = "demo"
EPOCHS = 3
INIT_TIMEOUT = FINISH_TIMEOUT = 8.0  # seconds; a fault of the server then holds a job up for a short time only
USAGES = ("A", "B closed", "B open", "C")
PROCESSES = ("1", "2", "torchrun")

# What the campaign must know of a life is told by the job itself: each line of the marks is a statement that was passed.
HEAD = f"""\
import builtins, json, os, sys, time
from ultralytics import YOLO
from ultralytics_wb_ddp import (
    TrainingState, WandbManager, add_wandb_callback, callbacks, is_main_process, train_distributed, wandb_config
)
from ultralytics_wb_ddp.testing.cpu_trainers import CpuDDPTrainer

LIFE = int(os.environ["CHAOS_LIFE"])
LIMITS = dict(init_timeout={INIT_TIMEOUT}, finish_timeout={FINISH_TIMEOUT})
EVENTS = (
    "on_pretrain_routine_start", "on_pretrain_routine_end", "on_train_start", "on_train_epoch_start",
    "on_train_batch_start", "on_train_batch_end", "on_train_epoch_end", "on_val_start", "on_val_end",
    "on_fit_epoch_end", "on_model_save", "on_train_end", "teardown",
)

def mark(what, **facts):
    rank = max(int(os.environ.get("RANK", "-1")), 0)
    line = json.dumps({{"what": what, "life": LIFE, "at": time.time(), "pid": os.getpid(), "rank": rank, **facts}})
    with open(os.environ["CHAOS_MARKS"], "a") as file:
        file.write(line + "\\n")

def watch(model, place):
    def watcher(event):
        def note(trainer):
            epoch = getattr(trainer, "epoch", None)
            mark(f"{{place}} {{event}}", epoch=epoch)
            wanted = json.loads(os.environ.get("CHAOS_RAISE", "{{}}"))
            here = dict(place=place, event=event, rank=max(int(os.environ.get("RANK", "-1")), 0))
            if all(wanted.get(name) == value for name, value in here.items()) and epoch in (None, wanted["epoch"]):
                mark("raised")
                raise getattr(builtins, wanted["error"])(3)
        return note
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


def script(usage: str, processes: str, *, by_hand: bool) -> str:
    """Return the script of a usage."""
    bodies = {
        "A": OWN_RUN,
        "B closed": MANAGER.replace("KEEP_OPEN", "False"),
        "B open": MANAGER.replace("KEEP_OPEN", "True"),
        "C": CALLBACK.replace("REGISTER", BY_HAND if by_hand else ADD),
    }
    return HEAD + bodies[usage].replace("TRAIN\n", TRAIN[processes] + "\n")


def environment(usage: str) -> dict[str, str]:
    """Return the variables by which a job keeps its run when it is started again; A and B name it themselves."""
    return {"WANDB_RUN_ID": RUN_ID, "WANDB_PROJECT": PROJECT} if usage == "C" else {}
