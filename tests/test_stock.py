"""The stock callback is found in a trainer by where it comes from, in every era, and is out for that training only."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cloudpickle
import pytest
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils.callbacks import mlflow, wb

from support.jobs import NIGHTLY, RunJob
from support.releases import INSTALLED, Releases
from ultralytics_wb_ddp.tools.stock_callback_patch import TARGET, read_diffs
from ultralytics_wb_ddp.training.stock_callback import is_stock, switch_off_stock_callback

ERAS = ("8.3.0", "8.3.199", "8.4.139", "8.4.183", INSTALLED)  # of the file, and of the patches

# Registers what a file of Ultralytics' registers and has it open a run, whereupon some add further functions.
REGISTER = """\
import os, sys, types
from collections import defaultdict
from pathlib import Path
from ultralytics import settings
settings.update(wandb=True)
from ultralytics.models.yolo.detect import DetectionTrainer
import wandb
from ultralytics_wb_ddp.training.stock_callback import is_stock, switch_off_stock_callback

def mine(trainer):
    pass

trainer = DetectionTrainer(overrides=dict(model=os.environ["MODEL"], data=os.environ["DATA"], project=os.getcwd(), name="train"))
for file in sorted(Path(os.environ["FILES"]).iterdir()):
    stock = types.ModuleType("ultralytics.utils.callbacks.wb")
    exec(compile(file.read_text(), file, "exec"), vars(stock))
    trainer.callbacks = defaultdict(list)
    trainer.add_callback("on_train_end", mine)
    for event, function in stock.callbacks.items():
        trainer.add_callback(event, function)
    known = sum(map(len, trainer.callbacks.values()))
    if "on_pretrain_routine_end" in stock.callbacks and not file.name.startswith("8.3"):
        os.environ.update(WANDB_RUN_ID=file.stem.replace(".", "-"), WANDB_PROJECT="stock")
        trainer.run_callbacks("on_pretrain_routine_end")
        wandb.finish()
    added = sum(map(len, trainer.callbacks.values())) - known
    switch_off_stock_callback(trainer, None)
    left = [function for functions in trainer.callbacks.values() for function in functions]
    print("FOUND", file.stem, known - 1, added, left == [mine])
"""


def test_all_functions_of_every_era_are_found(run_job: RunJob, releases: Releases, tmp_path: Path) -> None:
    for era in ERAS:
        original = (releases.ultralytics(era) / TARGET).read_bytes()
        (diff,) = [diff for diff in read_diffs() if sha256(original).hexdigest() in diff.releases]
        (tmp_path / f"{era}.py").write_bytes(original)
        (tmp_path / f"{era}-patched.py").write_bytes(diff.apply(original))

    job = run_job(REGISTER, prelude="", FILES=str(tmp_path))
    found = dict(line.split(maxsplit=2)[1:] for line in job.output.splitlines() if line.startswith("FOUND"))

    assert found == {
        "8.3.0": "4 0 True",
        "8.3.0-patched": "5 0 True",
        "8.3.199": "4 0 True",
        "8.3.199-patched": "5 0 True",
        "8.4.139": "4 0 True",
        "8.4.139-patched": "5 0 True",
        "8.4.183": "5 0 True",
        "8.4.183-patched": "5 0 True",
        "installed": "4 2 True",
        "installed-patched": "4 2 True",
    }


def made_by_stock(expression: str) -> Any:
    """Return a function as the stock callback would make it."""
    return eval(expression, vars(wb))


def test_stock_functions_are_told_from_others() -> None:
    made = made_by_stock("lambda run: lambda _: run")(None)

    def made_by_user(trainer: Any) -> None:
        wb.on_train_end(trainer)

    assert all(map(is_stock, [wb.on_train_end, made, partial(partial(wb.on_train_end), 1)]))
    assert is_stock(cloudpickle.loads(cloudpickle.dumps(made)))  # as it arrives in a worker
    assert not any(map(is_stock, [mlflow.on_train_end, partial(print), print, made_by_user, object()]))


def test_callbacks_beside_the_stock_callback_run_wherever_it_stands() -> None:
    ran: list[str] = []

    class Ours:
        def event(self, trainer: Any) -> None:
            ran.append("ours")
            switch_off_stock_callback(trainer, self)

    def note(name: str) -> Any:
        return lambda _: ran.append(name)

    stock = made_by_stock("lambda trainer: trainer.ran.append('stock')")
    functions = [note("first"), stock, Ours().event, note("second"), stock, note("third")]
    trainer = SimpleNamespace(callbacks=defaultdict(list, event=functions, other=[stock]), ran=ran)
    for _ in range(2):
        BaseTrainer.run_callbacks(trainer, "event")
    BaseTrainer.run_callbacks(trainer, "other")

    assert ran == ["first", "stock", "ours", "second", "third", "first", "ours", "second", "third"]


@pytest.mark.parametrize(
    "era", [pytest.param("8.3.199", marks=NIGHTLY), INSTALLED]
)  # trainers share the model's callbacks, and have their own
def test_stock_callback_is_off_for_this_training_only(run_job: RunJob, releases: Releases, era: str) -> None:
    job = run_job(
        """\
        from ultralytics import settings
        settings.update(wandb=True, runs_dir=os.path.abspath("runs"))
        ONE_PROCESS.update(trainer=CpuDDPTrainer, project="demo", epochs=1)

        model.train(**{**ONE_PROCESS, "name": "stock"})
        ours = add_wandb_callback(model, name="ours")
        model.train(**ONE_PROCESS)
        for event, function in ours.callbacks.items():
            model.callbacks[event].remove(function)
        model.train(**{**ONE_PROCESS, "name": "stock again"})
        assert settings["wandb"] is True
        """,
        PYTHONPATH=releases.path(releases.ultralytics(era)),
    )
    before, ours, after = job.runs

    assert [run.name for run in job.runs] == ["stock", "ours", "stock again"]
    assert {run.state for run in job.runs} == {"finished"}
    assert [row["epoch"] for row in ours.history] == [1, 1, 1]
    for run in (before, after):
        keys = {key for row in run.history for key in row}
        assert {"train/box_loss", "metrics/mAP50(B)", "model/parameters"} <= keys
        assert "per_class_metrics" not in keys
