"""The request to the doctor, and the result of one check."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ultralytics_wb_ddp.config.devices import parse_devices

if TYPE_CHECKING:
    from pathlib import Path

    from ultralytics_wb_ddp.config.options import WandbConfig
    from ultralytics_wb_ddp.runs.run_record import RunRecord

__all__ = ["CheckResult", "DoctorRequest", "error", "ok", "warning"]


@dataclass(frozen=True)
class CheckResult:
    """Result of one check.

    Attributes:
        check: Subject of the check, in one or two words.
        status: ``"ok"``, ``"warning"`` or ``"error"``.
        remedy: How to fix the problem; empty without a remedy.
    """

    check: str
    status: str
    message: str
    remedy: str = ""


@dataclass(frozen=True)
class DoctorRequest:
    """Request to the doctor.

    Attributes:
        options: Options of the run, from the config file and the command line.
        manager: Whether the options are those of a manager, which come from a config file.
        of_job: Whether that file is a job. Then no script of the user opens a run.
        device: Argument of ``model.train(device=...)``; with None Ultralytics chooses.
        timeout: Seconds to wait for each answer of the server.
    """

    options: WandbConfig
    manager: bool = False
    of_job: bool = False
    device: str | None = None
    timeout: float = 10.0

    def continuing(self, record: RunRecord | None) -> DoctorRequest:
        """Return the request for a training that continues a recorded run, in the run's project."""
        if record is None or self.options.id or os.environ.get("WANDB_RUN_ID"):
            return self
        run, options = record.handoff(), self.options
        project, entity = run.project or options.project, run.entity or options.entity
        return replace(self, options=replace(options, id=run.run_id, project=project, entity=entity))

    @property
    def devices(self) -> list[str]:
        """Names of the devices, one for each process; empty if Ultralytics chooses."""
        return parse_devices(self.device)

    @property
    def directory(self) -> Path | None:
        """Requested directory for the run's files."""
        from pathlib import Path

        return Path(self.options.dir) if self.options.dir else None


def ok(check: str, message: str) -> CheckResult:
    """Return the result of a check without a problem."""
    return CheckResult(check, "ok", message)


def warning(check: str, message: str, remedy: str = "") -> CheckResult:
    """Return the result of a check whose problem may be intended."""
    return CheckResult(check, "warning", message, remedy)


def error(check: str, message: str, remedy: str) -> CheckResult:
    """Return the result of a check with an error."""
    return CheckResult(check, "error", message, remedy)
