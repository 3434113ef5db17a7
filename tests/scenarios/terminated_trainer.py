"""A trainer whose import ends one rank by SIGTERM, before the callbacks of the training are there."""

from __future__ import annotations

import os
import signal
import time

from ultralytics_wb_ddp.testing.cpu_trainers import CpuDDPTrainer


class TerminatedTrainer(CpuDDPTrainer):
    """A trainer on the CPU."""


if os.environ.get("RANK") == os.environ.get("TERMINATED_AT_IMPORT", "none"):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
