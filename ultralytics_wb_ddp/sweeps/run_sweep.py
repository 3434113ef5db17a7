"""Sweeps whose trials train on several GPUs: N trials are N runs, whatever number of processes each takes."""

from __future__ import annotations

import contextlib
import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


MAX_AGENTS = 20  # that W&B serves of one sweep
FILE_ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True)
class _TrialTask:
    """What trials do: a function or a job.

    Attributes:
        function: The function; None where it is a job.
        job: The job, whose interpolations are left as they are.
        settings: The job's section ``wandb``, over what :func:`wandb_config` says around it.
    """

    function: Callable[[dict[str, Any]], Any] | None
    job: Any
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, given: Any) -> _TrialTask:
        if callable(given):
            return cls(given, None, merge_scopes(active_scopes()))
        job = read_job(given)
        with job_errors_as_sweep_errors():
            section = to_plain(job.get("wandb"), resolve=True) or {}
        return cls(
            None, job, {**merge_scopes(active_scopes()), **{name: value for name, value in section.items() if value}}
        )

    def check(self, definition: Mapping[str, Any], project: str, shares: list[Any]) -> None:
        """Check it with the parameters of a sweep, and the devices of the agents."""
        if "device" in definition["parameters"] and any(share is not None for share in shares):
            msg = "parameters.device: agents that share the devices have theirs given; run one, without devices"
            raise ConfigurationError(msg)
        if self.function:
            check_parameters(definition["parameters"], "sweep", others=True)
        else:
            metric = (definition.get("metric") or {}).get("name")
            check_job(self.job, definition["parameters"], project=project, metric=metric)

    def device_shares(self, agents: int, devices: Any) -> list[Any]:
        """Return the devices of each agent; None leaves them to the function or the job."""
        if devices is None and not self.function:
            devices = devices_of(self.job, agents)
        return [None] * agents if devices is None else split_devices(devices, agents)

    def task_for(self, device: Any, project: str) -> Callable[[dict[str, Any]], None]:
        """Return what a trial does on some devices."""
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
    """Run trials of a sweep, each in a process of its own, until W&B has no more or the count is reached.

    Args:
        sweep: A new sweep: a YAML file, mapping or OmegaConf config as W&B has it, with ``method``, ``metric`` and
            ``parameters``, and with the job under ``job``. Or one that exists, to join it: ``"entity/project/id"`` or
            the web address of its page.
        trial: What a trial does, if not the sweep's ``job``: another job (a YAML file, mapping or OmegaConf config),
            or a function that takes the parameters. Within it, ``wandb.init``, ``WandbManager`` and
            ``add_wandb_callback`` continue the run of the trial, in any number of processes.
        count: Number of trials of all agents; None runs until W&B has no more, which random search always has.
        agents: Number of trials at a time, 1 to 20.
        devices: GPUs that the agents share equally, such as ``[0, 1, 2, 3]``; None takes those of the job. A function
            finds its own in ``parameters["device"]``, to be given to ``model.train``.

    Returns:
        The sweep, with the trials that were run here.

    Raises:
        ConfigurationError: The sweep or its job is wrong or does not exist, a parameter may get a value that the
            training argument cannot have, the devices cannot be shared equally, W&B is offline, or this is a trial or
            a worker itself.
        SweepError: Trials do nothing but fail, or W&B cannot be reached or refuses the key.
        wandb.errors.Error: W&B refuses the sweep.
    """
    _check_place(agents, count)
    config = None if _is_path(sweep) else sweep if isinstance(sweep, SweepConfig) else SweepConfig.read(sweep)
    given = config.job if config and trial is None else trial
    if given is None:
        msg = f"it is not said what the trials of sweep {sweep!r} do; give a function or a job"
        raise ConfigurationError(msg)
    work = _TrialTask.of(given)
    shares = work.device_shares(agents, devices)
    with _preserved_environment(work.settings.get("api_key")), _server_errors_as_sweep_errors():
        if config:
            entity, project = _place_of(config, work.settings)
            work.check(config.definition, project, shares)
            found, definition = create_sweep(config.definition, entity, project), config.definition
        else:
            found, definition = find_sweep(sweep)
            work.check(definition, found.project, shares)
        return _run(found, definition, [work.task_for(share, found.project) for share in shares], count)


def split_devices(devices: Sequence[Any] | str, agents: int) -> list[Any]:
    """Return the devices of each agent, in the form in which all were given.

    Raises:
        ConfigurationError: They cannot be shared equally.
    """
    names = devices.split(",") if isinstance(devices, str) else list(devices)
    each, rest = divmod(len(names), agents)
    if rest or not each:
        msg = f"{agents} agents cannot share device={devices!r} equally; 2 agents can share 8 GPUs, 4 for each"
        raise ConfigurationError(msg)
    shares = [names[start : start + each] for start in range(0, len(names), each)]
    return [",".join(share) for share in shares] if isinstance(devices, str) else shares


# Helpers
def _check_place(agents: int, count: int | None) -> None:
    """Refuse what cannot be, wherever the sweep comes from."""
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
    """Return whether a sweep is one that exists at W&B."""
    return isinstance(sweep, str) and not sweep.endswith(FILE_ENDINGS)


def _place_of(config: SweepConfig, settings: Mapping[str, Any]) -> tuple[str | None, str]:
    """Return entity and project of a new sweep: its own, or else those of its job or of the environment."""
    entity, project = (
        config.definition.get(name) or settings.get(name) or os.environ.get(f"WANDB_{name.upper()}")
        for name in ("entity", "project")
    )
    if not project:
        msg = "the sweep has no project; give it one, such as project: my-project"
        raise ConfigurationError(msg)
    return entity, project


def _call_function(function: Callable[[dict[str, Any]], Any], device: Any, parameters: dict[str, Any]) -> None:
    """Do the work of a trial that is a function."""
    arguments = train_arguments(parameters, "sweep", others=True)
    function(arguments if device is None else {**arguments, "device": device})


def _within_scopes(
    around: Iterable[ConfigScope], work: Callable[[dict[str, Any]], None], parameters: dict[str, Any]
) -> None:
    """Do a trial's work inside of the blocks of ``wandb_config`` that the sweep is run in."""
    with ExitStack() as stack:
        for block in around:
            stack.enter_context(block)
        work(parameters)


def _run(
    sweep: Sweep, definition: Mapping[str, Any], work: list[Callable[[dict[str, Any]], None]], count: int | None
) -> Sweep:
    """Run its trials, one agent for each share of the work."""
    import cloudpickle

    from ultralytics_wb_ddp.wandb_client.internals import SweepAgentClient

    logger.info("sweep %s: %s", sweep.path, sweep.url)
    metric = (definition.get("metric") or {}).get("name")
    agents = AgentPool(
        [
            (
                SweepAgentClient(sweep.entity, sweep.project, sweep.id),
                cloudpickle.dumps(partial(_within_scopes, active_scopes(), each)),
            )
            for each in work
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
    """Say of a server that cannot be used that the sweep cannot go on."""
    from ultralytics_wb_ddp.wandb_client.server import ServerError

    try:
        yield
    except ServerError as trouble:
        raise SweepError(str(trouble)) from trouble


@contextlib.contextmanager
def _preserved_environment(api_key: str | None) -> Iterator[None]:
    """Put the environment back in the end: W&B's client notes a sweep's project there.

    Args:
        api_key: API key of W&B, where the job or a block has one.
    """
    before = dict(os.environ)
    if api_key:
        os.environ["WANDB_API_KEY"] = api_key
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
