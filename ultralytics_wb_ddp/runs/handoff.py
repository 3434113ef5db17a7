"""Hand a run to the workers and back to the launcher.

The handoff names the run that a worker continues. In the handback file the worker reports how its session ended.

``WANDB_RUN_ID``, ``WANDB_PROJECT`` and ``WANDB_ENTITY`` name the run, with W&B's own meaning. So they also count when
other software has set them. The other values are sent as JSON in ``ULTRALYTICS_WB_DDP``.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping  # noqa: TC003  # pydantic reads the types of the fields
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any, Literal

import psutil

from ultralytics_wb_ddp.config.options import Mode  # noqa: TC001
from ultralytics_wb_ddp.config.types import RunId
from ultralytics_wb_ddp.config.validation import ConfigurationError, validate
from ultralytics_wb_ddp.distributed.signals import SIGTERM_EXIT_CODE, on_early_termination
from ultralytics_wb_ddp.distributed.slurm import integer
from ultralytics_wb_ddp.utils.errors import exit_code_of
from ultralytics_wb_ddp.utils.files import write_json
from ultralytics_wb_ddp.wandb_client.run_state import get_next_step, is_shared

HANDOFF_VARIABLE = "ULTRALYTICS_WB_DDP"
HANDBACK_FILE = "worker.json"  # beside the run's files in the launcher
EARLY_EXIT_CODE = "early_exit_code"  # key in that file for a worker that had not opened the run
ROW_COUNT_TIMEOUT = 15.0  # seconds after which the service has counted all sent rows; it lags 2 to 4 s
HANDOFF_VERSION = 2
IN_OTHER_VARIABLES = {"project", "entity"}
NOT_EXPORTED = {"training_dir"}


@dataclass(frozen=True)
class Handoff:
    """The run to continue, and the way to continue it.

    Attributes:
        run_id: Id of the run.
        project: Project of the run. None leaves the project to the process that opens the run.
        entity: Entity of the run. None is the default of the account.
        state: ``"open"``: the run is open in the launcher, and workers attach to it. ``"closed"``: workers resume it.
        host: Name of the launcher's host. An open run is reachable from this host only. None if it is not known.
        mode: Mode in which the run was created. None leaves the mode to W&B.
        next_step: W&B step after the last row that the launcher wrote.
        closed_at: Time at which the launcher closed the run, in seconds since 1970.
        files_dir: Directory of the run's files in the launcher. An attached worker must put images and tables there.
        config_keys: Keys in the run's config that were set before the training. The training leaves them unchanged.
        service: Token of the run's wandb-core on the launcher's host. None leaves the token to ``WANDB_SERVICE``.
        is_complete: Whether all rows before ``next_step`` were sent. False after a session that was killed.
        is_user_run: Whether the user opened the run, with W&B's own settings.
        is_shared: Whether the launcher writes to the run in W&B's shared mode.
        is_job_run: Whether the run ends with a job, which continues after the training.
        options: Logging options of the launcher's configuration, by the names of :class:`RunOptions`.
        training_dir: Directory of a training whose earlier session logged to the run. It is not exported.
    """

    run_id: str
    project: str | None = None
    entity: str | None = None
    state: Literal["open", "closed"] = "closed"
    host: str | None = None
    mode: Mode | None = None
    next_step: int = 0
    closed_at: float | None = None
    files_dir: str | None = None
    config_keys: tuple[str, ...] = ()
    service: str | None = None
    is_complete: bool = True
    is_user_run: bool = False
    is_shared: bool = False
    is_job_run: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    training_dir: Path | None = None

    @classmethod
    def of_run(cls, run: Any, *, is_open: bool, service: str | None = None, is_users: bool = False) -> Handoff:
        """Return the handoff of a ``wandb.Run``.

        Args:
            run: A run that is open, or was closed just now.
            is_open: Whether the run is open.
            service: Token of the run's wandb-core. None leaves the token to ``WANDB_SERVICE``.
            is_users: Whether the user opened the run.
        """
        if run.disabled:
            return cls(run_id=run.id, state="open", mode="disabled")
        return cls(
            run_id=run.id,
            project=run.project or None,
            entity=run.entity or None,
            state="open" if is_open else "closed",
            host=socket.gethostname(),
            mode="offline" if run.offline else "online",
            next_step=get_next_step(run),
            closed_at=None if is_open else time.time(),
            files_dir=run.dir,
            service=service,
            is_user_run=is_users,
            is_shared=is_shared(run),
            config_keys=tuple(str(key) for key in run.config.keys() if not str(key).startswith("_")),  # noqa: SIM118
        )

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Handoff | None:
        """Return the handoff in the environment, or None without one.

        If other software has set ``WANDB_RUN_ID``, its run counts as closed, and an older ``ULTRALYTICS_WB_DDP`` does
        not count.

        Args:
            env: Environment variables. None takes those of this process.

        Raises:
            ConfigurationError: W&B refuses the id, or ``ULTRALYTICS_WB_DDP`` is not a JSON object of the version that
                this release writes.
        """
        env = os.environ if env is None else env
        record = _read_record(env.get(HANDOFF_VARIABLE, ""))
        run_id = env.get("WANDB_RUN_ID", "")
        if not run_id:
            return None
        named: dict[str, Any] = {name: env.get(f"WANDB_{name.upper()}") or None for name in IN_OTHER_VARIABLES}
        if record.get("run_id") != run_id:
            return cls(validate(RunId, run_id, "WANDB_RUN_ID"), **named)
        values = {item.name: record[item.name] for item in fields(cls) if item.name in record} | named
        return cls(**{**values, "config_keys": tuple(values.get("config_keys", ()))})

    def to_env(self) -> dict[str, str]:
        """Return the environment variables that :meth:`from_env` reads."""
        exported = [item.name for item in fields(self) if item.name not in IN_OTHER_VARIABLES | NOT_EXPORTED]
        record = {"version": HANDOFF_VERSION, **{name: getattr(self, name) for name in exported}}
        named = {"WANDB_RUN_ID": self.run_id, "WANDB_PROJECT": self.project, "WANDB_ENTITY": self.entity}
        return {**{name: value for name, value in named.items() if value}, HANDOFF_VARIABLE: json.dumps(record)}

    def run_options(self) -> dict[str, str | None]:
        """Return the options that name the run and its mode."""
        return {"project": self.project, "entity": self.entity, "mode": self.mode}

    @property
    def launcher_dir(self) -> Path | None:
        """W&B's folder of the launcher's session. None on another host."""
        folder = Path(self.files_dir).parent if self.files_dir else None
        return folder if folder and folder.is_dir() else None

    @property
    def handback_file(self) -> Path | None:
        """The handback file, in which a worker reports on its session. None on another host."""
        return self.launcher_dir / HANDBACK_FILE if self.launcher_dir else None

    @property
    def journals(self) -> list[Path]:
        """Directories of this host whose journals lead to the sessions of the run."""
        return [place for place in (self.launcher_dir, self.training_dir) if place and place.is_dir()]

    def is_probably_counted(self) -> bool:
        """Return whether the service has had enough time to count every row."""
        return not self.closed_at or time.time() > self.closed_at + ROW_COUNT_TIMEOUT

    def read_handback(self, timeout: float) -> tuple[Handoff, int | None]:
        """Return the handoff after the worker's session, and the session's exit code.

        Args:
            timeout: Seconds to wait for a session that is still open. After a worker was killed, its service process
                is finishing the run.

        Returns:
            The handoff with the step and the time at which the session ended, and the exit code. The exit code is None
            if the worker ran on another host or never opened the run.
        """
        deadline = time.monotonic() + timeout
        handback = _read_handback(self.handback_file)
        while _is_session_open(handback) and time.monotonic() < deadline:
            time.sleep(0.1)
            handback = _read_handback(self.handback_file)
        if "exit_code" not in handback:
            return replace(self, closed_at=time.time()), None
        next_step = max(int(handback["next_step"]), self.next_step)
        return replace(self, next_step=next_step, closed_at=handback["closed_at"]), int(handback["exit_code"])

    @property
    def is_of_known_run(self) -> bool:
        """Whether the run is known to exist. A process that opened it left more than its id."""
        return bool(self.host or self.closed_at or self.next_step)

    def was_taken_up(self) -> bool:
        """Return whether a worker of this host opened the closed run."""
        return is_taken_up(self.handback_file)

    def handed_back_config(self) -> dict[str, Any]:
        """Return the config that a worker wrote to the shared run."""
        config = _read_handback(self.handback_file).get("config")
        return config if isinstance(config, dict) else {}

    def reported_exit_code(self) -> int:
        """Return the exit code that a worker has reported, or 0: one that was attached to the run, or ended before."""
        handback = _read_handback(self.handback_file)
        exit_code = handback.get("exit_code") or handback.get(EARLY_EXIT_CODE)
        return exit_code if isinstance(exit_code, int) else 0

    def report_early_end(self, exit_code: int) -> None:
        """Report the exit code of a worker that ends before any worker has opened the run, or after that."""
        if self.handback_file:
            report_early_end(self.handback_file, exit_code)

    def delete_handback(self) -> None:
        """Delete the handback file of a previous session."""
        if self.handback_file:
            self.handback_file.unlink(missing_ok=True)


def is_taken_up(handback_file: Path | str | None) -> bool:
    """Return whether a worker has opened the run of a handback file; False for an empty path."""
    handback = _read_handback(Path(handback_file) if handback_file else None)
    return bool(handback.keys() - {EARLY_EXIT_CODE})


def report_early_end(handback_file: Path, exit_code: int) -> None:
    """Report the exit code of a worker, unless one has reported on its session."""
    if not _read_handback(handback_file):
        with suppress(OSError):  # the launcher learns only that a worker has failed
            write_json(handback_file, {EARLY_EXIT_CODE: exit_code})


def report_early_sigterm(handback_file: str) -> None:
    """Report SIGTERM to this worker from now on, until the training's callbacks take care of it."""
    on_early_termination(partial(report_early_end, Path(handback_file), SIGTERM_EXIT_CODE))


def exit_code_of_launch(error: BaseException | None, handoff: Handoff) -> int:
    """Return the exit code of the launcher of a run, for an exception that ends it or None.

    If the launch of the workers has failed, it is the exit code that a worker has reported.
    """
    is_of_launch = isinstance(error, CalledProcessError)
    return (handoff.reported_exit_code() if is_of_launch else 0) or exit_code_of(error)


def write_handback(file: Path, **values: Any) -> None:
    """Write the handback file of a worker's session.

    Args:
        file: The handback file.
        **values: ``pid`` of the process that holds the open session, or ``next_step`` and ``exit_code`` at its end.
    """
    with suppress(OSError):  # the launcher continues without a handback
        write_json(file, {**values, "closed_at": time.time()})


def _read_handback(file: Path | None) -> dict[str, Any]:
    try:
        handback = json.loads(file.read_text(encoding="utf-8")) if file else {}
    except (OSError, ValueError):
        handback = {}
    return handback if isinstance(handback, dict) else {}


def _is_session_open(handback: dict[str, Any]) -> bool:
    return "exit_code" not in handback and "pid" in handback and psutil.pid_exists(handback["pid"])


def _read_record(text: str) -> dict[str, Any]:
    """Return the checked content of ``ULTRALYTICS_WB_DDP``. An unset variable gives an empty dict."""
    if not text:
        return {}
    remedy = (
        f"it is written by WandbManager; unset it with 'unset {HANDOFF_VARIABLE}' if it is left over from another job"
    )
    try:
        record = json.loads(text)
    except ValueError:
        msg = f"{HANDOFF_VARIABLE}={text!r} is not JSON; {remedy}"
        raise ConfigurationError(msg) from None
    if not isinstance(record, dict) or record.get("version") != HANDOFF_VERSION:
        version = record.get("version") if isinstance(record, dict) else None
        msg = (
            f"{HANDOFF_VARIABLE}={text!r} is of version {version!r}, this release reads version {HANDOFF_VERSION}: "
            f"launcher and workers run different releases of ultralytics_wb_ddp; {remedy}"
        )
        raise ConfigurationError(msg)
    if integer(os.environ, "RANK", 0) <= 0:  # the other ranks do without pydantic; if this one fails, they end, too
        try:
            validate(Handoff, {name: value for name, value in record.items() if name != "version"})
        except ConfigurationError as error:
            msg = f"{HANDOFF_VARIABLE}: {error}; {remedy}"
            raise ConfigurationError(msg) from None
    return record
