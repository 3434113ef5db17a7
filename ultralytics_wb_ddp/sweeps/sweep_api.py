"""A sweep at W&B: made, found, and asked whether a trial has logged what it looks for."""

from __future__ import annotations

import contextlib
import io
import time
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config.validation import ConfigurationError
from ultralytics_wb_ddp.sweeps.sweep_config import sweep_path
from ultralytics_wb_ddp.utils.logging import format_exception, logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ultralytics_wb_ddp.sweeps.agents import Trial


COUNTING = 10.0  # seconds after which a run's summary is there, if it is there at all
INFINITE = ("NaN", "Infinity", "-Infinity")  # as W&B writes numbers that JSON has none of


@dataclass(frozen=True)
class Sweep:
    """A sweep, and its trials that were run here.

    Attributes:
        id: Its id.
        entity: User or team that owns its project.
        project: Its project.
        url: Web address of its page.
        trials: Its trials that were run here, in the order in which they were started.
    """

    id: str
    entity: str
    project: str
    url: str
    trials: tuple[Trial, ...] = ()

    @property
    def path(self) -> str:
        """What others join it by: ``entity/project/id``."""
        return f"{self.entity}/{self.project}/{self.id}"


def create_sweep(definition: Mapping[str, Any], entity: str | None, project: str) -> Sweep:
    """Make a sweep.

    Raises:
        Trouble: W&B cannot be reached or refuses the key.
        wandb.errors.Error: W&B refuses the sweep.
    """
    import wandb

    from ultralytics_wb_ddp.wandb_client.internals import no_login_prompt
    from ultralytics_wb_ddp.wandb_client.server import require_server

    require_server()
    with no_login_prompt(), contextlib.redirect_stdout(io.StringIO()):
        sweep_id = wandb.sweep(dict(definition), entity=entity, project=project)
        owner = entity or wandb.Api().default_entity
    return find_sweep(f"{owner}/{project}/{sweep_id}")[0]


def find_sweep(sweep: str) -> tuple[Sweep, dict[str, Any]]:
    """Return a sweep and its definition.

    Args:
        sweep: Its id, its path ``entity/project/id`` or the web address of its page.

    Raises:
        ConfigurationError: There is none.
        Trouble: W&B cannot be reached or refuses the key.
        wandb.errors.Error: W&B refuses.
    """
    import wandb

    from ultralytics_wb_ddp.wandb_client.internals import no_login_prompt
    from ultralytics_wb_ddp.wandb_client.server import require_server

    path = sweep_path(sweep)
    require_server()
    try:
        with no_login_prompt():
            found = wandb.Api().sweep(path)
            definition = dict(found.config)
    except Exception as error:
        if "could not find" not in str(error).lower():  # its kind differs between releases
            raise
        msg = f"there is no sweep {path!r}; its page shows entity, project and id"
        raise ConfigurationError(msg) from error
    return Sweep(found.id, found.entity, found.project, found.url), definition


class ObjectiveCheck:
    """Says once, after the first trial that has succeeded, that the sweep will not find its objective.

    Args:
        sweep: The sweep.
        metric: Name of the objective.
    """

    def __init__(self, sweep: Sweep, metric: str) -> None:
        self._sweep = sweep
        self._metric = metric
        self._is_done = False

    def __call__(self, trial: Trial) -> None:
        """Look at a trial that has ended."""
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
        except Exception as error:  # noqa: BLE001  # it is only a look
            logger.info("the objective of trial %s cannot be looked at: %s", run_id, format_exception(error))
            return True
        return isinstance(value, Real) or value in INFINITE
