"""Trainings to compare: each in a directory and processes of its own, with the same seed and the same work."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

from ultralytics_wb_ddp.testing.shapes_dataset import make_shapes_dataset  # noqa: E402  # found through the line above

TIMEOUT = 3600.0
ERROR = re.compile(r"(\w+\.)*\w*(Error|Exception)\b")


class TrainingFailedError(Exception):
    """A training failed; the message is what it said."""


@dataclass(frozen=True)
class Training:
    """What one training took.

    Attributes:
        logger: Name of the logger; see ``job.py``.
        wall: Seconds of the whole script, from its start to its end.
        seconds: Seconds of ``model.train`` in it.
        ranks: What each rank noted; see ``timed_trainers.py``.
    """

    logger: str
    wall: float
    seconds: float
    ranks: dict[int, dict[str, Any]]

    def events(self, *names: str, rank: int = 0, epochs: range | None = None) -> list[float]:
        """Return the seconds that callbacks took, of some events, on a rank, in some epochs (from 0)."""
        return [
            seconds
            for event, epoch, seconds in self.ranks[rank]["events"]
            if (not names or event in names) and (epochs is None or epoch in epochs)
        ]


class Trainings:
    """Trains in a directory.

    Args:
        folder: The directory.
        gpus: Number of GPUs to train on; 0 is the CPU.
    """

    def __init__(self, folder: Path, gpus: int) -> None:
        self.folder = folder
        self.gpus = gpus
        self._count = 0

    def dataset(self, images: int) -> Path:
        """Return a dataset; it is generated once."""
        folder = self.folder / f"shapes-{images}"
        return folder / "data.yaml" if folder.exists() else make_shapes_dataset(folder, images=images, classes=3)

    def train(
        self,
        logger: str,
        *,
        processes: int = 2,
        images: int = 32,
        model: str = "yolo11n.yaml",
        options: dict[str, Any] | None = None,
        environment: dict[str, str] | None = None,
        **arguments: Any,
    ) -> Training:
        """Train once.

        Args:
            logger: Name of the logger; see ``job.py``.
            processes: In how many processes.
            images: Size of the dataset.
            model: Model.
            options: Options of ours.
            environment: Further variables.
            **arguments: Further arguments of ``model.train``.

        Raises:
            TrainingFailedError: The training failed.
        """
        self._count += 1
        folder = self.folder / f"{self._count}-{logger}"
        folder.mkdir(parents=True)
        device = ",".join(map(str, range(processes))) if processes > 1 or self.gpus else "cpu"
        train = {"data": str(self.dataset(images)), "imgsz": 64, "batch": 8, "workers": 0, "device": device}
        train |= {"project": str(folder), "name": "train", "plots": False, "verbose": False, **arguments}
        request = {
            "logger": logger,
            "model": model,
            "trainer": "TimedTrainer" if self.gpus else "TimedCpuTrainer",
            "options": options or {},
            "train": train,
        }
        begun = time.perf_counter()
        done = subprocess.run(  # noqa: S603
            [sys.executable, str(Path(__file__).with_name("job.py")), json.dumps(request)],
            cwd=folder,
            env=_environment(folder, environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        wall = time.perf_counter() - begun
        if done.returncode:
            (folder / "output.log").write_text(done.stdout, encoding="utf-8")
            causes = [line for line in done.stdout.splitlines() if ERROR.match(line)]
            raise TrainingFailedError(causes[0] if causes else f"exit code {done.returncode}")
        ranks = {int(file.stem.split("-")[1]): json.loads(file.read_text()) for file in folder.glob("rank-*.json")}
        return Training(logger, wall, json.loads((folder / "train.json").read_text())["seconds"], ranks)


def _environment(folder: Path, more: dict[str, str]) -> dict[str, str]:
    """Return an environment as a user's shell has it, with nothing of W&B's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "YOLO_"))}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)]),
        "BENCHMARK_FOLDER": str(folder),
        "HOME": str(folder),
        "YOLO_CONFIG_DIR": str(folder / "yolo"),
        "OMP_NUM_THREADS": "1",
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "WANDB_ERROR_REPORTING": "false",
        **more,
    }
