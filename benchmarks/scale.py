"""Many ranks that write to one run, and long trainings with many metrics: what grows."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import psutil
import shared_ranks
from table import Line
from trainings import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

EPOCHS, KEYS = 1_000, 200
PART = 100  # epochs of which the first and the last so many are compared
MEBIBYTE = 2**20


def measure(folder: Path, ranks: Sequence[int]) -> Iterator[Line]:
    """Measure both."""
    for number in ranks:
        one = shared_ranks.measure(number, one_core=True)
        rows = number * shared_ranks.ROWS
        remark = f"{one['cores']} wandb-core, {one['rows']} of {rows} rows, {one['runs']} run"
        yield Line(
            "scale", f"{number} ranks in one run, memory beside them", "MiB", {"ours": [one["memory"]]}, remark=remark
        )
    done = subprocess.run(  # noqa: S603
        [sys.executable, __file__], cwd=folder, stdout=subprocess.PIPE, text=True, check=True, timeout=1800
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    text = f"epoch {EPOCHS - PART} to {EPOCHS} of {KEYS} metrics, epoch 1 to {PART} = 1"
    remark = f"{found['first'] * 1000:.2f} and {found['last'] * 1000:.2f} ms an epoch, median"
    yield Line("scale", f"time of {text}", "ratio", {"ours": [found["last"] / found["first"]]}, "", 1.2, remark)
    remark = f"{found['before']:.0f} MiB after {PART} epochs, {found['after']:.0f} MiB after {EPOCHS}"
    yield Line("scale", f"memory of {text}", "ratio", {"ours": [found["after"] / found["before"]]}, "", 1.1, remark)


def log_many_epochs() -> None:
    """Log a long training, without training, and say what it took."""
    sys.path.insert(0, str(ROOT))
    import wandb

    from ultralytics_wb_ddp.config.options import RunOptions
    from ultralytics_wb_ddp.runs.guarded_run import GuardedRun

    os.environ.update(WANDB_MODE="offline", WANDB_SILENT="true")
    with tempfile.TemporaryDirectory() as folder:
        run = wandb.init(project="scale", dir=folder)
        session = GuardedRun(run, "adopt", RunOptions())
        session.start(Path(folder))
        process, seconds, memory = psutil.Process(), [], {}
        for epoch in range(1, EPOCHS + 1):
            row = {f"metrics/{key}": epoch / (key + 1) for key in range(KEYS)}
            begun = time.perf_counter()
            session.log({**row, "epoch": epoch}, is_best=False)
            seconds.append(time.perf_counter() - begun)
            time.sleep(0.005)  # an epoch is longer than that
            if epoch in {PART, EPOCHS}:
                gc.collect()
                memory[epoch] = process.memory_info().rss / MEBIBYTE
        session.close(0)
        run.finish()
    numbers = {"first": median(seconds[:PART]), "last": median(seconds[-PART:])}
    print(json.dumps({**numbers, "before": memory[PART], "after": memory[EPOCHS]}))


if __name__ == "__main__":
    log_many_epochs()
