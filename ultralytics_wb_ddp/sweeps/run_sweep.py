"""Run sweeps with one run for each trial on several GPUs."""

from __future__ import annotations

import contextlib
import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config.devices import parse_devices
from ultralytics_wb_ddp.config.scope import active_scopes, merge_scopes
from ultralytics_wb_ddp.config.validation import ConfigurationError
from ultralytics_wb_ddp.distributed.processes import is_worker
from ultralytics_wb_ddp.runs.trial_env import is_trial
from ultralytics_wb_ddp.sweeps.agents import AgentPool, SweepError
from ultralytics_wb_ddp.sweeps.sweep_api import ObjectiveCheck, Sweep, create_sweep, find_sweep
from ultralytics_wb_ddp.sweeps.sweep_config import SweepConfig, check_parameters, read_job, train_arguments
from ultralytics_wb_ddp.sweeps.trial_job import check_job, devices_of, job_errors_as_sweep_errors, run_trial
from ultralytics_wb_ddp.utils.logging import logger
from ultralytics_wb_ddp.utils.serialization import to_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ultralytics_wb_ddp.config.scope import ConfigScope


MAX_AGENTS = 20  # W&B's limit for one sweep
FILE_ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True)
class _TrialTask:
    """Task of the trials: a function, or a job with unresolved interpolations.

    The settings are those of the active ``wandb_config`` scopes, overridden by the job's section ``wandb``.
    """

    function: Callable[[dict[str, Any]], Any] | None
    job: Any
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, trial: Any) -> _TrialTask:
        if callable(trial):
            return cls(trial, None, merge_scopes(active_scopes()))
        job = read_job(trial)
        with job_errors_as_sweep_errors():
            section = to_plain(job.get("wandb"), resolve=True) or {}
        return cls(
            None, job, {**merge_scopes(active_scopes()), **{name: value for name, value in section.items() if value}}
        )

    def check(self, definition: Mapping[str, Any], project: str, shares: list[Any]) -> None:
        """Check the task with a sweep's parameters and the agents' devices."""
        if "device" in definition["parameters"] and any(share is not None for share in shares):
            msg = "parameters.device: agents that share the devices have theirs given; run one, without devices"
            raise ConfigurationError(msg)
        if self.function:
            check_parameters(definition["parameters"], "sweep", allow_others=True)
        else:
            metric = (definition.get("metric") or {}).get("name")
            check_job(self.job, definition["parameters"], project=project, metric=metric)

    def device_shares(self, agents: int, devices: Any) -> list[Any]:
        """Return the devices of each agent; None leaves the devices to the function or the job."""
        if devices is None and not self.function:
            devices = devices_of(self.job, agents)
        return [None] * agents if devices is None else split_devices(devices, agents)

    def task_for(self, device: Any, project: str) -> Callable[[dict[str, Any]], None]:
        """Return the function that a trial runs on its devices."""
        if self.function:
            return partial(_call_function, self.function, device)
        return partial(run_trial, self.job, project, device)


def run_sweep(
    sweep: Any,
    trial: Any = None,
    *,
    count: int | None = None,
    agents: int = 1,
    devices: Sequence[Any] | str | None = None,
) -> Sweep:
    """Run the trials of a sweep, each in its own process.

    The sweep ends when W&B has no more trials or the count is reached.

    Args:
        sweep: A new sweep or the path of an existing sweep. A new sweep is a YAML file, mapping or OmegaConf config in
            W&B's format, with ``method``, ``metric`` and ``parameters``, and a job under ``job``. An existing sweep is
            joined by its path ``"entity/project/id"`` or its web address.
        trial: Task of the trials, instead of the sweep's ``job``: another job (a YAML file, mapping or OmegaConf
            config), or a function that takes the parameters. In the function, ``wandb.init``, ``WandbManager`` and
            ``add_wandb_callback`` continue the run of the trial, in any number of processes.
        count: Number of trials of all agents. None runs until W&B has no more trials; random search never ends.
        agents: Number of simultaneous trials, 1 to 20.
        devices: GPUs that the agents share equally, such as ``[0, 1, 2, 3]``; None takes the devices of the job. A
            function gets the devices of its trial in ``parameters["device"]`` and passes them to ``model.train``.

    Returns:
        The sweep with the trials that this call ran.

    Raises:
        ConfigurationError: The sweep or its job is wrong or does not exist, a parameter may get an invalid value, the
            devices cannot be shared equally, W&B is offline, or this process is a trial or a worker.
        SweepError: All first trials have failed, or W&B cannot be reached or refuses the API key.
        wandb.errors.Error: W&B refuses the sweep.
    """
    _check_preconditions(agents, count)
    config = None if _is_path(sweep) else sweep if isinstance(sweep, SweepConfig) else SweepConfig.read(sweep)
    trial_work = config.job if config and trial is None else trial
    if trial_work is None:
        msg = f"it is not said what the trials of sweep {sweep!r} do; give a function or a job"
        raise ConfigurationError(msg)
    task = _TrialTask.of(trial_work)
    shares = task.device_shares(agents, devices)
    with _preserved_environment(task.settings.get("api_key")), _server_errors_as_sweep_errors():
        if config:
            entity, project = _entity_and_project(config, task.settings)
            task.check(config.definition, project, shares)
            target_sweep, definition = create_sweep(config.definition, entity, project), config.definition
        else:
            target_sweep, definition = find_sweep(sweep)
            task.check(definition, target_sweep.project, shares)
        return _run(target_sweep, definition, [task.task_for(share, target_sweep.project) for share in shares], count)


def split_devices(devices: Sequence[Any] | str, agents: int) -> list[Any]:
    """Return the devices of each agent, in the form of ``devices``: a sequence or a string with commas.

    Raises:
        ConfigurationError: The devices cannot be shared equally.
    """
    names = parse_devices(devices) if isinstance(devices, str) else list(devices)
    devices_per_agent, rest = divmod(len(names), agents)
    if rest or not devices_per_agent:
        msg = f"{agents} agents cannot share device={devices!r} equally; 2 agents can share 8 GPUs, 4 for each"
        raise ConfigurationError(msg)
    shares = [names[start : start + devices_per_agent] for start in range(0, len(names), devices_per_agent)]
    return [",".join(share) for share in shares] if isinstance(devices, str) else shares


# Helpers
def _check_preconditions(agents: int, count: int | None) -> None:
    if is_worker() or is_trial():
        where = f"a worker (LOCAL_RANK={os.environ['LOCAL_RANK']})" if is_worker() else "a trial of a sweep"
        msg = (
            f"a sweep cannot be run in {where}; start it without torchrun, each trial starts its own processes, and "
            "call run_sweep() below 'if __name__ == \"__main__\":'"
        )
        raise ConfigurationError(msg)
    if not 1 <= agents <= MAX_AGENTS:
        msg = f"agents={agents}: 1 to {MAX_AGENTS} are possible"
        raise ConfigurationError(msg)
    if count is not None and count < 1:
        msg = f"count={count}: a number of trials, 1 or more, is expected; leave it out to run all"
        raise ConfigurationError(msg)
    mode = os.environ.get("WANDB_MODE", "online")
    if mode not in {"online", "shared"}:
        msg = f"WANDB_MODE={mode!r}: a sweep needs W&B's server, which chooses the parameters; unset WANDB_MODE"
        raise ConfigurationError(msg)


def _is_path(sweep: Any) -> bool:
    return isinstance(sweep, str) and not sweep.endswith(FILE_ENDINGS)


def _entity_and_project(config: SweepConfig, settings: Mapping[str, Any]) -> tuple[str | None, str]:
    """Return the entity and project from sweep, job or environment."""
    entity, project = (
        config.definition.get(name) or settings.get(name) or os.environ.get(f"WANDB_{name.upper()}")
        for name in ("entity", "project")
    )
    if not project:
        msg = "the sweep has no project; give it one, such as project: my-project"
        raise ConfigurationError(msg)
    return entity, project


def _call_function(function: Callable[[dict[str, Any]], Any], device: Any, parameters: dict[str, Any]) -> None:
    arguments = train_arguments(parameters, "sweep", allow_others=True)
    function(arguments if device is None else {**arguments, "device": device})


def _within_scopes(
    scopes: Iterable[ConfigScope], function: Callable[[dict[str, Any]], None], parameters: dict[str, Any]
) -> None:
    with ExitStack() as stack:
        for scope in scopes:
            stack.enter_context(scope)
        function(parameters)


def _run(
    sweep: Sweep,
    definition: Mapping[str, Any],
    trial_functions: list[Callable[[dict[str, Any]], None]],
    count: int | None,
) -> Sweep:
    import cloudpickle

    from ultralytics_wb_ddp.wandb_client.internals import SweepAgentClient

    logger.info("sweep %s: %s", sweep.path, sweep.url)
    metric = (definition.get("metric") or {}).get("name")
    agents = AgentPool(
        [
            (
                SweepAgentClient(sweep.entity, sweep.project, sweep.id),
                cloudpickle.dumps(partial(_within_scopes, active_scopes(), function)),
            )
            for function in trial_functions
        ],
        environment={"WANDB_SWEEP_ID": sweep.id, "WANDB_ENTITY": sweep.entity, "WANDB_PROJECT": sweep.project},
        folder=Path(os.environ.get("WANDB_DIR", ""), "wandb", f"sweep-{sweep.id}").absolute(),
        count=count,
        after_trial=ObjectiveCheck(sweep, metric) if metric else None,
    )
    agents.run()
    return replace(sweep, trials=tuple(agents.trials))


@contextlib.contextmanager
def _server_errors_as_sweep_errors() -> Iterator[None]:
    from ultralytics_wb_ddp.wandb_client.server import ServerError

    try:
        yield
    except ServerError as trouble:
        raise SweepError(str(trouble)) from trouble


@contextlib.contextmanager
def _preserved_environment(api_key: str | None) -> Iterator[None]:
    """Restore the environment at the end, to which wandb writes the sweep's project.

    The API key is that of the job or a scope; None keeps the key of the environment.
    """
    original_environment = dict(os.environ)
    if api_key:
        os.environ["WANDB_API_KEY"] = api_key
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(original_environment)
