"""What a check has found, and what was asked of the doctor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from ultralytics_wb_ddp.config.options import WandbConfig

__all__ = ["CheckResult", "DoctorRequest", "error", "ok", "warning"]


@dataclass(frozen=True)
class CheckResult:
    """What one check has found.

    Attributes:
        check: What was looked at, in one or two words.
        status: ``"ok"``, ``"warning"`` or ``"error"``.
        message: What is the case.
        remedy: What to do about it; empty when there is nothing to do.
    """

    check: str
    status: str
    message: str
    remedy: str = ""


@dataclass(frozen=True)
class DoctorRequest:
    """What was asked of the doctor.

    Attributes:
        options: How the run is to be made, from the config file and the command line.
        manager: Whether the options are those of a manager: they come from a config file.
        of_job: Whether that file is a job, so that no script of the user's makes a run.
        device: What will be given to ``model.train(device=...)``; None is left to Ultralytics.
        timeout: Seconds that the server has for each answer.
    """

    options: WandbConfig
    manager: bool = False
    of_job: bool = False
    device: str | None = None
    timeout: float = 10.0

    @property
    def devices(self) -> list[str]:
        """The devices by name, one for each process; empty when the choice is left to Ultralytics."""
        text = (self.device or "").strip("[]() ")
        return [name.strip(" '").removeprefix("cuda:") for name in text.split(",") if name.strip()]

    @property
    def directory(self) -> Path | None:
        """Directory that was asked for the run's files."""
        from pathlib import Path

        return Path(self.options.dir) if self.options.dir else None


def ok(check: str, message: str) -> CheckResult:
    """Return the finding that something is in order."""
    return CheckResult(check, "ok", message)


def warning(check: str, message: str, remedy: str = "") -> CheckResult:
    """Return a finding that may be meant so."""
    return CheckResult(check, "warning", message, remedy)


def error(check: str, message: str, remedy: str) -> CheckResult:
    """Return the finding that something is wrong."""
    return CheckResult(check, "error", message, remedy)
