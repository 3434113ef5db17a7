"""What the numbers of the ranks cost a training: per batch, and per epoch by the number of ranks.

Run it with the numbers of ranks: python benchmarks/rank_metrics.py 2 8 64
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from statistics import median

import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parent.parent))

from ultralytics_wb_ddp.distributed.rank_store import RankStore
from ultralytics_wb_ddp.metrics.rank_metrics import RankTimer, ranks_row

BATCHES = 100_000
EPOCHS = 50
NUMBERS = {"images_per_second": 123.4, "data_wait": 0.5, "validation": 1.5, "loss": 4.25, "memory": 17.5}


def main() -> None:
    """Print the table."""
    meter = RankTimer()
    begun = time.perf_counter()
    for _ in range(BATCHES):
        meter.on_train_batch_start()
        meter.on_train_batch_end()
    print(f"per batch, on each rank: {(time.perf_counter() - begun) / BATCHES * 1e6:.2f} µs\n")

    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(store.port))
    print("| ranks | on the others, ms an epoch (median) | on rank 0, ms an epoch (median) |")
    print("| --- | --- | --- |")
    for ranks in [int(text) for text in sys.argv[1:] or ["2", "8", "64"]]:
        here, there = RankStore(str(ranks)), RankStore(str(ranks))
        put, taken = [], []
        for epoch in range(EPOCHS):
            keys = {f"metrics/{epoch}/{rank}": rank for rank in range(1, ranks)}
            for key in keys:
                begun = time.perf_counter()
                there.write(key, NUMBERS)
                put.append(time.perf_counter() - begun)
            there.wait(keys, 10)
            begun = time.perf_counter()
            found = here.read(keys)
            ranks_row({0: NUMBERS, **{keys[key]: numbers for key, numbers in found.items()}})
            taken.append(time.perf_counter() - begun)
            assert len(found) == ranks - 1  # noqa: S101  # or the figure means nothing
        print(f"| {ranks} | {median(put) * 1e3:.3f} | {median(taken) * 1e3:.2f} |")


if __name__ == "__main__":
    main()
