"""Create and find sweeps, and check that trials log the objective."""

from __future__ import annotations

import contextlib
import io
import os
import time
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config.validation import ConfigurationError
from ultralytics_wb_ddp.sweeps.sweep_config import sweep_path
from ultralytics_wb_ddp.utils.environment import environment
from ultralytics_wb_ddp.utils.logging import format_exception, logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ultralytics_wb_ddp.sweeps.agents import Trial


COUNTING = 10.0  # seconds until W&B must have a run's summary
INFINITE = ("NaN", "Infinity", "-Infinity")  # W&B's strings for numbers that JSON cannot hold


@dataclass(frozen=True)
class Sweep:
    """A sweep and the trials of this process.

    Attributes:
        id: Id of the sweep.
        entity: W&B user or W&B team that owns the project.
        project: Project of the sweep.
        url: Web address of the sweep's page.
        trials: Trials that this process started, in the order of their start.
    """

    id: str
    entity: str
    project: str
    url: str
    trials: tuple[Trial, ...] = ()

    @property
    def path(self) -> str:
        """The path ``entity/project/id``, by which other processes join the sweep."""
        return f"{self.entity}/{self.project}/{self.id}"


def create_sweep(definition: Mapping[str, Any], entity: str | None, project: str) -> Sweep:
    """Create a sweep. W&B's client sets variables for the trials of this process, which are put back."""
    import wandb

    from ultralytics_wb_ddp.wandb_client.internals import no_login_prompt
    from ultralytics_wb_ddp.wandb_client.server import require_server

    require_server()
    before = {name: os.environ.get(name) for name in ("WANDB_ENTITY", "WANDB_PROJECT")}
    with environment(before), no_login_prompt(), contextlib.redirect_stdout(io.StringIO()):
        sweep_id = wandb.sweep(dict(definition), entity=entity, project=project)
        owner = entity or wandb.Api().default_entity
    return find_sweep(f"{owner}/{project}/{sweep_id}")[0]


def find_sweep(sweep: str) -> tuple[Sweep, dict[str, Any]]:
    """Return a sweep and its definition, by its id, path ``entity/project/id`` or web address.

    Raises:
        ConfigurationError: The sweep does not exist.
        ServerError: W&B cannot be reached or refuses the API key.
    """
    import wandb

    from ultralytics_wb_ddp.wandb_client.internals import no_login_prompt
    from ultralytics_wb_ddp.wandb_client.server import require_server

    path = sweep_path(sweep)
    require_server()
    try:
        with no_login_prompt():
            wandb_sweep = wandb.Api().sweep(path)
            definition = dict(wandb_sweep.config)
    except Exception as error:
        if "could not find" not in str(error).lower():  # the class differs between releases
            raise
        msg = f"there is no sweep {path!r}; its page shows entity, project and id"
        raise ConfigurationError(msg) from error
    return Sweep(wandb_sweep.id, wandb_sweep.entity, wandb_sweep.project, wandb_sweep.url), definition


class ObjectiveCheck:
    """Check of the first successful trial. It warns if the objective, a metric, was not logged."""

    def __init__(self, sweep: Sweep, metric: str) -> None:
        self._sweep = sweep
        self._metric = metric
        self._is_done = False

    def __call__(self, trial: Trial) -> None:
        """Check a trial that has ended."""
        if self._is_done or trial.exit_code or trial.stopped:
            return
        self._is_done = True
        deadline = time.monotonic() + COUNTING
        while not (is_there := self._has_number(trial.run_id)) and time.monotonic() < deadline:
            time.sleep(COUNTING / 10)
        if not is_there:
            msg = "the summary of trial %s has no number %r, which is the sweep's objective: log it, or name another"
            logger.warning(msg, trial.run_id, self._metric)

    def _has_number(self, run_id: str) -> bool:
        import wandb

        try:
            run = wandb.Api().run(f"{self._sweep.entity}/{self._sweep.project}/{run_id}")
            value = dict(run.summary).get(self._metric)
        except Exception as error:  # noqa: BLE001  # a failed check must not stop the sweep
            logger.info("the objective of trial %s cannot be looked at: %s", run_id, format_exception(error))
            return True
        return isinstance(value, Real) or value in INFINITE
