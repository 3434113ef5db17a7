"""Trainers that note how long callbacks take on the training's thread, whoever's they are, and what each rank holds."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from ultralytics.models.yolo.detect import DetectionTrainer

from ultralytics_wb_ddp.testing.cpu_trainers import CpuDDPTrainer

FOLDER = "BENCHMARK_FOLDER"  # variable that names the directory for the notes
KIBIBYTES = 1 if sys.platform != "darwin" else 1024  # getrusage counts in KiB on Linux, in bytes on macOS


class Timed:
    """What makes a trainer note its callbacks' time; put it before the trainer's class."""

    callbacks: dict[str, list[Any]]
    epoch: int = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._events: list[tuple[str, int, float]] = []
        super().__init__(*args, **kwargs)

    def run_callbacks(self, event: str) -> None:
        """Run the callbacks of an event, and note their time."""
        begun = time.perf_counter()
        super().run_callbacks(event)  # type: ignore[misc]
        self._events.append((event, self.epoch, time.perf_counter() - begun))
        if event == "on_pretrain_routine_end":
            self._began = time.time() - psutil.Process().create_time()
        if event == "teardown":
            self._write()

    def get_validator(self) -> Any:
        """Return the validator, whose callbacks are noted as well."""
        validator = super().get_validator()  # type: ignore[misc]
        run_callbacks = validator.run_callbacks

        def run_and_note(event: str) -> None:
            begun = time.perf_counter()
            run_callbacks(event)
            self._events.append((event, self.epoch, time.perf_counter() - begun))

        validator.run_callbacks = run_and_note
        return validator

    def _write(self) -> None:
        process = psutil.Process()
        noted = {
            "events": self._events,
            "began": self._began,
            "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 / KIBIBYTES,
            "threads": process.num_threads(),
            "processes": sum(child.name() != "python" for child in process.children(recursive=True)),
            "wandb": "wandb" in sys.modules,
        }
        file = Path(os.environ[FOLDER], f"rank-{os.environ.get('RANK', '0')}.json")
        file.write_text(json.dumps(noted), encoding="utf-8")


class TimedCpuTrainer(Timed, CpuDDPTrainer):
    """On the CPU, in one process or in several."""


class TimedTrainer(Timed, DetectionTrainer):
    """Where Ultralytics trains by itself: on GPUs."""
