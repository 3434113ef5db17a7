"""The doctor's answers, and directories as trainings leave them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import wandb
from click.testing import CliRunner

from support.managers import clean_environment
from ultralytics_wb_ddp.cli.main import main
from ultralytics_wb_ddp.doctor.past_training_checks import check_training

KEY = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Answer:
    """The answer of the command with ``--json``."""

    exit_code: int
    plan: dict[str, Any]
    checks: list[dict[str, str]]
    output: str

    @classmethod
    def read(cls, exit_code: int, output: str) -> Answer:
        content = json.loads(output)
        assert content["ok"] == (exit_code == 0), output
        return cls(exit_code, content["plan"], content["checks"], output)

    def of(self, status: str) -> dict[str, str]:
        """Messages with their remedies, by check, of the findings of one status."""
        found: dict[str, str] = {}
        for check in self.checks:
            if check["status"] == status:
                found[check["check"]] = (
                    f"{found.get(check['check'], '')} {check['message']} -> {check['remedy']}".strip()
                )
        return found


class Doctor:
    """The doctor in this process, in a directory and an environment of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        self._monkeypatch = monkeypatch
        clean_environment(monkeypatch, directory)
        monkeypatch.chdir(directory)
        monkeypatch.setenv("WANDB_MODE", "offline")

    def ask(self, *arguments: str, **env: str) -> Answer:
        """Return the answer to a call of the command."""
        exit_code, output = self.tell("--json", *arguments, **env)
        return Answer.read(exit_code, output)

    def tell(self, *arguments: str, **env: str) -> tuple[int, str]:
        """Return exit code and output of a call of the command."""
        for name, value in env.items():
            self._monkeypatch.setenv(name, value)
        wandb.teardown()  # the client reads its settings once
        done = CliRunner().invoke(main, ["doctor", *arguments])
        return done.exit_code, done.output


@contextmanager
def doctor_in(monkeypatch: pytest.MonkeyPatch, directory: Path) -> Iterator[Doctor]:
    """Have a doctor, whose settings the next user of W&B does not get."""
    try:
        yield Doctor(monkeypatch, directory)
    finally:
        wandb.teardown()


@dataclass
class Trained:
    """A directory as a training leaves it, in the directory of its job."""

    job: Path

    def __post_init__(self) -> None:
        self.directory = self.job / "train"
        self.directory.mkdir()
        (self.directory / "args.yaml").write_text("task: detect\n", encoding="utf-8")

    def results(self, epochs: int) -> None:
        """Write the results of so many epochs."""
        rows = "".join(f"{epoch},1.5,0.5\n" for epoch in range(1, epochs + 1))
        (self.directory / "results.csv").write_text(f"epoch,time,train/box_loss\n{rows}", encoding="utf-8")

    def record(self, run_id: str, **more: Any) -> None:
        """Write the record of a run."""
        content = {"id": run_id, "project": "demo", "entity": None, "url": None, **more}
        (self.directory / "wandb_run.json").write_text(json.dumps(content), encoding="utf-8")

    def log(self, run_id: str, *rows: str, below: Path | None = None, project: str = "demo") -> None:
        """Log a run, each of whose rows is an epoch, or a note where it is ``"-"``."""
        directory = below or self.directory
        run = wandb.init(project=project, id=run_id, dir=directory, mode="offline", settings={"console": "off"})
        for row in rows:
            run.log({"epoch": int(row), "train/box_loss": 1.0} if row != "-" else {"note": 1})
        run.finish()
        wandb.teardown()  # finish() does not wait for the file to be written
        os.environ.pop("WANDB_SERVICE", None)

    def examine(self) -> dict[str, dict[str, str]]:
        """Return texts by status and check."""
        found: dict[str, dict[str, str]] = {"ok": {}, "warning": {}, "error": {}}
        for finding in check_training(self.directory, self.job):
            found[finding.status][finding.check] = f"{finding.message} -> {finding.remedy}"
        return found
