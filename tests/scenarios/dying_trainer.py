"""A trainer that is killed at the very end of its training, with the process that launched it."""

from __future__ import annotations

import os
import signal
from typing import Any

from ultralytics.models.yolo.detect import DetectionTrainer

from ultralytics_wb_ddp.testing.cpu_trainers import CpuDDPTrainer

IS_IN_TWO_PROCESSES = os.environ["PROCESSES"] == "2"
Base: Any = CpuDDPTrainer if IS_IN_TWO_PROCESSES else DetectionTrainer


class DyingTrainer(Base):
    """A trainer that dies in the method that the variable ``DIES_IN`` names."""

    def die(self, method: str) -> None:
        if os.environ["DIES_IN"] == method:
            os.kill(os.getppid() if IS_IN_TWO_PROCESSES else os.getpid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)

    def save_model(self) -> Any:
        saved = super().save_model()
        if self.epoch + 1 == self.epochs:
            self.die("save_model")
        return saved

    def final_eval(self) -> None:
        super().final_eval()
        self.die("final_eval")
