"""One wandb-core for all ranks of a node, against one for each: memory, start, rows, by the number of ranks.

    python benchmarks/shared_ranks.py 1 8 32

The ranks are processes that write to one run in W&B's shared mode, without a GPU or a training, to the backend on
loopback that the tests use.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import psutil

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]
ROWS = 20
MEBIBYTE = 2**20


def rank(number: int, token: str | None) -> None:
    """Write rows to the shared run, and say how long it took to get it."""
    import wandb  # noqa: F401  # its import is the same in both cases

    from ultralytics_wb_ddp.config.options import RunOptions
    from ultralytics_wb_ddp.runs.lifecycle import SharedRunWriter, finish_run, init_run
    from ultralytics_wb_ddp.runs.resolution import handoff_of_open_run

    begun = time.perf_counter()
    Path(f"rank-{number}").mkdir()
    first = number == 0
    writer = SharedRunWriter(f"rank-{number}", primary=first, ends_run=first, measures=first, service=token)
    run = init_run(RunOptions(project="demo", dir=f"rank-{number}"), run_id="shared", resume=None, writer=writer)
    print(json.dumps({"start": time.perf_counter() - begun, "token": handoff_of_open_run(run).service}), flush=True)
    for step in range(ROWS):
        run.log({f"ranks/{number}/x": step})
    print("logged", flush=True)
    sys.stdin.readline()
    finish_run(run, 0)


def measure(ranks: int, *, one_core: bool) -> dict[str, Any]:
    """Return what so many ranks take."""
    from wandb_server import WandbServer

    processes: list[subprocess.Popen[str]] = []

    def start(number: int, token: str | None) -> dict[str, Any]:
        command = [sys.executable, __file__, "--rank", str(number), token or ""]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603
        processes.append(process)
        return json.loads(process.stdout.readline()) if number == 0 else {}  # type: ignore[union-attr]

    with WandbServer() as server, tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ.update({**server.environment, "WANDB_SILENT": "true"})
        before = set(psutil.pids())
        first = start(0, None)
        for number in range(1, ranks):
            start(number, first["token"] if one_core else None)
        starts = [first["start"], *(json.loads(process.stdout.readline())["start"] for process in processes[1:])]  # type: ignore[union-attr]
        for process in processes:
            process.stdout.readline()  # type: ignore[union-attr]
        beside = [process for process in psutil.process_iter() if process.pid not in before]
        own = {process.pid for process in processes}
        beside = [process for process in beside if process.pid not in own]
        memory = sum(process.memory_info().rss for process in beside) / MEBIBYTE
        cores = sum("wandb-core" in process.name() for process in beside)
        for process in reversed(processes):  # the first rank holds the core, and ends last
            process.communicate("\n", timeout=300)
        os.chdir(ROOT)
        rows = sum(len(run.history) for run in server.runs)
        runs = len(server.runs)
    return {"cores": cores, "memory": memory, "start": median(starts), "rows": rows, "runs": runs}


def main() -> None:
    """Print the table."""
    print("| ranks | wandb-core | processes of it | MiB beside the ranks | start of a run, s (median) | rows arrived |")
    print("| --- | --- | --- | --- | --- | --- |")
    for ranks in [int(text) for text in sys.argv[1:] or ["1", "8", "32"]]:
        for one_core in (True, False):
            found = measure(ranks, one_core=one_core)
            kind = "one for the node" if one_core else "one for each rank"
            print(
                f"| {ranks} | {kind} | {found['cores']} | {found['memory']:.0f} | {found['start']:.2f} | "
                f"{found['rows']} of {ranks * ROWS}, {found['runs']} run |",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--rank"]:
        rank(int(sys.argv[2]), sys.argv[3] or None)
    else:
        main()
