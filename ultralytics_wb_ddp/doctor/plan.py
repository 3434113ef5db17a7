"""Forecast the run of a training, by the training's own rules."""

from __future__ import annotations

import os
import socket
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config.names import model_collection
from ultralytics_wb_ddp.config.options import RunOptions, merge
from ultralytics_wb_ddp.config.validation import ConfigurationError
from ultralytics_wb_ddp.runs.handoff import Handoff
from ultralytics_wb_ddp.runs.resolution import RunResolution, resolve
from ultralytics_wb_ddp.runs.run_defaults import stock_run_options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ultralytics_wb_ddp.doctor.finding import DoctorRequest

__all__ = ["TrainingForecast", "make_forecast"]

SAVE_DIR = "the training's directory"
CHECKPOINTS = {
    "best": "the best checkpoint",
    "best+last": "the best and the last checkpoint",
    "all": "the best checkpoint and the last one of each epoch",
    "none": "",
}


@dataclass(frozen=True)
class TrainingForecast:
    """Forecast of a training's run.

    Attributes:
        action: How the training gets its run, as :class:`ultralytics_wb_ddp.runs.resolution.Plan` has it.
        reason: Why the training gets no run, if ``action`` is ``"refuse"``.
        run_id: Id of the run; None if the id is generated at the start.
        entity: Entity of the run; None is the default of the account.
        mode: ``"online"``, ``"offline"`` or ``"disabled"``.
        processes: Number of processes that train.
        run_mode: Which of them log: ``"auto"``, ``"new"`` or ``"shared"``.
        uploads: Content of the run, as phrases.
        named_by_handoff: Whether another process handed the run over to this one, so that it must exist.
    """

    action: str
    reason: str
    run_id: str | None
    project: str
    entity: str | None
    mode: str
    processes: int
    run_mode: str
    directory: str
    uploads: tuple[str, ...]
    named_by_handoff: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the facts for JSON."""
        ranks = range(max(1, self.processes))
        logging = [rank for rank in ranks if self.run_mode != "auto" or rank == 0]
        return {**asdict(self), "uploads": list(self.uploads), "logging_ranks": logging}

    def lines(self, *, of_job: bool = False) -> Iterator[tuple[str, str]]:
        """Yield a title and a sentence for each fact. For a job no script of the user opens a run."""
        verbs = {
            "new": "a new one is created",
            "resume": f"{self.run_id} is continued",
            "attach": f"{self.run_id}, open in the process that started this one, is attached to",
            "skip": "none: W&B is disabled",
            "refuse": f"none: {self.reason}",
        }
        script = ", unless the script creates one" if self.action == "new" and not of_job else ""
        yield "run", verbs[self.action] + script
        yield "project", f"{self.entity}/{self.project}" if self.entity else f"{self.project} of the default entity"
        several = f"{self.processes} processes; {_WHO_LOGS[self.run_mode]}"
        yield "processes", several if self.processes > 1 else "one process, which logs"
        yield "mode", _MODES[self.mode]
        yield "files", self.directory
        yield "uploads" if self.mode == "online" else "holds", ", ".join(self.uploads) or "nothing"


_WHO_LOGS = {
    "auto": "only rank 0 logs",
    "new": "each rank logs, into a run of its own in one group",
    "shared": "each rank logs into the one run, which they share",
}
_MODES = {
    "online": "online: rows are sent while the training runs",
    "offline": "offline: nothing is sent before 'ultralytics-wb-ddp sync'",
    "disabled": "disabled: nothing is logged",
}


def make_forecast(request: DoctorRequest, settings: Any) -> TrainingForecast:
    """Return the forecast of a training's run.

    Raises:
        ConfigurationError: The handoff in the environment is damaged.
    """
    inherited = Handoff.from_env()
    run_id = request.options.id
    handoff = Handoff(run_id) if run_id and (inherited is None or inherited.run_id != run_id) else inherited
    default = stock_run_options(None, "train", SAVE_DIR)
    if request.manager:
        default = {"project": default["project"]}
    given = merge(request.options.training_options(), handoff.options if handoff else {}, request.options.as_layer())
    mode = (handoff and handoff.mode) or given.get("mode") or _mode_of(settings)
    options = RunOptions(**merge({"mode": mode}, given, default))
    try:
        resolution = resolve(options, default, handoff=handoff, host=socket.gethostname(), env=os.environ)
        options = resolution.options
    except ConfigurationError as error:
        resolution = RunResolution("refuse", error=error)
    mode = options.mode or mode
    action = "skip" if mode == "disabled" else resolution.action
    return TrainingForecast(
        action=action,
        reason=str(resolution.error or "") if action == "refuse" else "",
        run_id=handoff.run_id if handoff else None,
        project=options.project or "",
        entity=options.entity or settings.entity,
        mode=mode,
        processes=len(request.devices) or 1,
        run_mode=options.run_mode or "auto",
        directory=_directory(options, manager=request.manager, settings=settings),
        uploads=tuple(_uploads(handoff.run_id if handoff else None, settings, request.options))
        if mode != "disabled"
        else (),
        named_by_handoff=bool(handoff and handoff is inherited and handoff.host),
    )


def _mode_of(settings: Any) -> str:
    return {"dryrun": "offline", "run": "online", "shared": "online"}.get(settings.mode, str(settings.mode))


def _directory(options: RunOptions, *, manager: bool, settings: Any) -> str:
    if options.dir == SAVE_DIR and not manager:
        return f"'wandb' in {SAVE_DIR}; those of a run that the script creates itself: {settings.wandb_dir}"
    return os.path.join(os.path.abspath(options.dir or settings.root_dir), "wandb")  # noqa: PTH100, PTH118  # a string


def _uploads(run_id: str | None, settings: Any, options: RunOptions) -> Iterator[str]:
    yield "losses, learning rates and metrics of each epoch"
    yield "plots and curves"
    if options.mistakes:
        yield f"the {options.mistakes} worst validation images"
    if files := CHECKPOINTS[options.checkpoints]:
        artifact = model_collection(run_id) if run_id else "run_<id>_model"
        size_or_store = f"in {options.checkpoint_store}" if options.checkpoint_store else "as large as the model"
        yield f"{files} (artifact {artifact}, {size_or_store})"
    if options.inputs:
        yield "data YAML, file list, model YAML or weights' name (inputs=False omits them)"
    yield "the training's arguments"
    if settings.console != "off":
        yield "what is printed"
    if not getattr(settings, "x_disable_stats", False):
        yield "use of CPU, GPU and memory"
    yield "names and versions of installed packages" if settings.disable_git else "installed packages and git commit"
