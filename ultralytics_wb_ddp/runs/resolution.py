"""Resolve which run a rank logs to, and open the run."""

from __future__ import annotations

import os
import re
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config.names import run_name
from ultralytics_wb_ddp.config.options import OFFLINE_MODES, RUN_ONLY_OPTIONS, RunOptions, merge
from ultralytics_wb_ddp.config.types import validate_environment
from ultralytics_wb_ddp.config.validation import ConfigurationError
from ultralytics_wb_ddp.distributed.topology import RankPlan, Topology, plan_nodes, plan_rank
from ultralytics_wb_ddp.runs.guarded_run import GuardedRun
from ultralytics_wb_ddp.runs.handoff import Handoff
from ultralytics_wb_ddp.runs.lifecycle import SharedRunWriter, attach, init_run, resume_run
from ultralytics_wb_ddp.runs.links import Links
from ultralytics_wb_ddp.runs.misuse_warnings import run_ids_with_callback
from ultralytics_wb_ddp.runs.open_runs import (
    is_ours,
    may_have_existed,
    not_shared_error,
    registry,
)
from ultralytics_wb_ddp.runs.run_record import RECORD_FILE
from ultralytics_wb_ddp.utils.logging import format_exception, logger
from ultralytics_wb_ddp.wandb_client.run_state import get_run_dir, is_closed, sync_command, wandb_run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ultralytics_wb_ddp.runs.run_record import RunRecord


DISABLED_OPEN_RUN = "the open run is a disabled one; call wandb.finish() before the training"
DISABLED_LAUNCHER = "the launcher's run is a disabled one"
DISABLED_SETTINGS = "W&B's settings on this machine; 'wandb enabled' changes them"


@dataclass(frozen=True)
class RunResolution:
    """The run of a logging rank, and the way to open it.

    Attributes:
        action: ``"adopt"``, ``"attach"``, ``"resume"``, ``"new"``, ``"skip"`` (W&B is disabled) or ``"refuse"``.
        options: Options to open the run with.
        handoff: The run to attach to or to resume, or the handoff that came with the run to adopt.
        base_id: Id that the ids of all ranks' runs are derived from.
        plan: The run of this rank.
        nodes: The run of each node, if each node has its own.
        writer: This rank as one of several writers of a shared run; None for the only writer.
        resume: As in ``wandb.init``, for a new run.
        init: Further arguments of ``wandb.init``, for a new run.
        error: The reason of a ``"refuse"``, with the remedy.
        cause: The disabled run that is the reason of a ``"skip"``, with the remedy.
        is_main: Whether this is the main process.
    """

    action: str
    options: RunOptions = field(default_factory=RunOptions)
    handoff: Handoff | None = None
    base_id: str = ""
    plan: RankPlan = field(default_factory=lambda: RankPlan(""))
    nodes: Mapping[str, RankPlan] = field(default_factory=dict)
    writer: SharedRunWriter | None = None
    resume: str | None = None
    init: Mapping[str, Any] = field(default_factory=dict)
    error: Exception | None = None
    cause: str = ""
    is_main: bool = True


def resolve(  # noqa: PLR0911  # one for each way to get a run
    options: RunOptions,
    default: Mapping[str, Any],
    *,
    local: Handoff | None = None,
    handoff: Handoff | None = None,
    earlier: RunRecord | None = None,
    topology: Topology | None = None,
    host: str = "",
    env: Mapping[str, str] | None = None,
    new_id: str = "",
) -> RunResolution:
    """Resolve the run of the main process.

    The function is pure, so that every case can be tested without W&B.

    Args:
        options: The user's options.
        default: Options of a new run for those that the user did not set.
        local: The run that was given to this process or is active in it.
        handoff: The handoff that was pickled with the callback or is in the environment.
        earlier: Record of the training's previous session, if the training is resumed.
        topology: Topology of this process; None for a training in one process.
        host: Name of this host.
        env: Environment variables; ``WANDB_MODE`` and ``WANDB_SERVICE`` are read.
        new_id: Id of a new run.

    Raises:
        ConfigurationError: The run mode contradicts the mode of the run.
    """
    env = env or {}
    run_mode, rank_scope = logging_ranks(options, handoff, env)
    found = local or handoff or (earlier.handoff() if earlier else None)
    base_id = (earlier.base_id if earlier and not (local or handoff) else None) or (found.run_id if found else new_id)
    plan = plan_rank(topology, run_mode, rank_scope, base_id) or RankPlan(base_id)
    named = _continued_options(found, options, default)
    nodes = _node_plans(options, topology, run_mode, rank_scope, base_id)
    resolution = RunResolution("new", named, base_id=base_id, plan=plan, nodes=nodes)
    if found and found.mode == "disabled":
        cause = DISABLED_OPEN_RUN if local else DISABLED_LAUNCHER
        return replace(resolution, action="skip", options=options, cause=cause)
    if plan.mode == "new":
        return replace(resolution, options=_options_of_rank(named, plan), resume="allow")
    if plan.mode == "shared" and not (local and local.is_shared):
        return _resolve_shared(resolution, default, local, handoff, found)
    if local:
        return replace(resolution, action="adopt", handoff=handoff)
    if handoff and handoff.state == "open":
        error = _unreachable_error(handoff, host, has_service=bool(handoff.service or env.get("WANDB_SERVICE")))
        return replace(resolution, action="refuse" if error else "attach", handoff=handoff, error=error)
    if found:
        return replace(resolution, action="resume", handoff=found)
    return replace(resolution, options=RunOptions(**merge(_options_of_rank(options, plan).as_layer(), default)))


def _resolve_shared(
    resolution: RunResolution,
    default: Mapping[str, Any],
    local: Handoff | None,
    handoff: Handoff | None,
    found: Handoff | None,
) -> RunResolution:
    """Resolve a run to which this process writes in W&B's shared mode."""
    is_open = handoff is not None and handoff.state == "open"
    writer = SharedRunWriter(resolution.plan.label or "rank-0", primary=True, ends_run=not is_open, measures=True)
    if local:
        error = not_shared_error(local.run_id, f"in mode={local.mode!r}")
    elif is_open and handoff and not handoff.is_shared:
        error = not_shared_error(handoff.run_id, "in the launcher")
    elif found:
        options = replace(resolution.options, mode=None)
        return replace(resolution, action="resume", options=options, handoff=found, writer=writer)
    else:
        options = RunOptions(**merge(resolution.options.as_layer(), default))
        return replace(resolution, options=options, writer=writer, resume="allow")
    return replace(resolution, action="refuse", error=error)


def resolve_rank(
    options: RunOptions,
    base: Handoff,
    plan: RankPlan,
    *,
    config: Mapping[str, Any],
    writer: SharedRunWriter | None,
    measures: bool,
) -> RunResolution:
    """Resolve the run of a rank that is not the main process.

    Args:
        options: Options of the run.
        base: The run of the main process.
        plan: The run of this rank.
        config: The config of that run, which a further writer must not replace.
        writer: This rank as a writer of a shared run. None for a run of its own.
        measures: Whether this rank measures the machine. One rank of each node does.
    """
    named = RunOptions(**merge(base.run_options(), options.as_layer()))
    resolution = RunResolution("new", named, base_id=base.run_id, plan=plan, resume="allow", is_main=False)
    if writer and base.mode == "online":
        return replace(resolution, writer=writer, resume=None, init={"config": dict(config)})
    if writer:  # the main process could not use W&B and writes to disk
        return resolution
    init = {} if measures else {"settings": {"x_disable_stats": True}}
    return replace(resolution, options=_options_of_rank(named, plan), init=init)


def _continued_options(found: Handoff | None, options: RunOptions, default: Mapping[str, Any]) -> RunOptions:
    """Return the options to continue a run. Values of the handoff come before the user's."""
    kept = {name: default.get(name) for name in ("project", "dir")}
    return RunOptions(**merge(found.run_options() if found else {}, options.as_layer(), kept))


def _options_of_rank(options: RunOptions, plan: RankPlan) -> RunOptions:
    name = run_name(options.name, plan.label or "") if options.name else plan.label
    return replace(options, name=name, group=options.group or plan.group)


def _node_plans(
    options: RunOptions, topology: Topology | None, run_mode: str, rank_scope: str, base_id: str
) -> dict[str, RankPlan]:
    plans = plan_nodes(topology, run_mode, rank_scope, base_id)
    return {node: plan.within(options.group) for node, plan in plans.items()}


def _unreachable_error(handoff: Handoff, host: str, *, has_service: bool) -> Exception | None:
    """Return the reason that a run which is open in the launcher cannot be attached to."""
    if handoff.host != host:
        reason = f"run {handoff.run_id!r} is open on host {handoff.host!r} and cannot be reached from host {host!r}"
    elif not has_service:
        reason = f"run {handoff.run_id!r} is open in the launcher, but WANDB_SERVICE, which leads to it, is not set"
    else:
        return None
    return ConnectionError(f"{reason}; call prepare_for_training() or finish the run before the training")


def logging_ranks(options: RunOptions, handoff: Handoff | None, env: Mapping[str, str]) -> tuple[str, str]:
    """Return run mode and rank scope, by default ``"auto"`` and ``"global"``.

    Args:
        options: The requested options, of this process or of the launcher's configuration.
        handoff: The launcher's run.
        env: Environment variables; ``WANDB_MODE`` is read.

    Raises:
        ConfigurationError: Shared mode offline, which W&B does not support.
    """
    layer = merge(options.as_layer())
    run_mode, rank_scope = layer.get("run_mode", "auto"), layer.get("rank_scope", "global")
    modes = (
        ("mode", options.mode),
        ("the launcher's run in mode", handoff and handoff.mode),
        ("WANDB_MODE", env.get("WANDB_MODE")),
    )
    name, mode = next((pair for pair in modes if pair[1]), ("", ""))
    if run_mode == "shared" and mode in OFFLINE_MODES:
        msg = (
            f"run_mode='shared' with {name}={mode!r}: W&B's shared mode needs its server; use run_mode='auto', by "
            "which rank 0 logs, or run_mode='new', by which each rank has a run of its own"
        )
        raise ConfigurationError(msg)
    return run_mode, rank_scope


def find_run(user_run: Any, pickled: Handoff | None) -> tuple[Handoff | None, Any]:
    """Return the handoff of the run to continue, and the open run of this process that a training logs to.

    Args:
        user_run: The run that the user gave, or None. If there is one, no other run counts.
        pickled: The handoff that was pickled with the callback, or None. It comes before that of the environment.

    Returns:
        The handoff, or None; and the ``wandb.Run``, or None. A run that the handoff names comes before ``wandb.run``.

    Raises:
        ConfigurationError: The handoff in the environment is damaged.
    """
    if user_run is not None and is_closed(user_run):
        return Handoff.of_run(user_run, is_open=False), None
    handoff = pickled or Handoff.from_env()
    if user_run is not None:
        return handoff, user_run
    named = registry.opened[handoff.run_id].run if handoff and handoff.run_id in registry.opened else None
    if named is not None and not is_closed(named):
        return handoff, named
    active = wandb_run()
    is_of_handoff = handoff is not None and active is not None and active.id == handoff.run_id
    if active is not None and is_ours(active) and not is_of_handoff and not registry.program_of(active.id):
        active = None  # the run of another manager
    return handoff, active


def handoff_of_open_run(run: Any) -> Handoff:
    """Return the handoff to attach to a run of this process."""
    open_run = registry.opened.get(run.id)
    service = open_run.service_process.token if open_run else os.environ.get("WANDB_SERVICE")
    return Handoff.of_run(run, is_open=True, service=service, is_users=open_run is None)


def open_main_run(
    user_run: Any,
    pickled: Handoff | None,
    options: RunOptions,
    default: Mapping[str, Any],
    earlier: RunRecord | None = None,
) -> GuardedRun | None:
    """Open the run that the main process logs to.

    Args:
        user_run: The run that was given to this process, or None.
        pickled: The handoff that was pickled with the callback, or None for that of the environment.
        options: The user's options.
        default: Options of a new run for those that the user did not set.
        earlier: Record of the training's previous session, if the training is resumed.

    Returns:
        As :func:`open_run` does.

    Raises:
        ConfigurationError: The handoff in the environment is damaged, or the open run cannot be shared.
        ConnectionError: The launcher's run is not reachable, with ``on_error="raise"``.
        wandb.errors.Error: W&B refuses or cannot be reached, with ``on_error="raise"``.
    """
    return open_run(*resolve_training_run(user_run, pickled, options, default, earlier))


def resolve_training_run(
    user_run: Any, pickled: Handoff | None, options: RunOptions, default: Mapping[str, Any], earlier: RunRecord | None
) -> tuple[RunResolution, Any]:
    """Resolve the run that the main process logs to, in this environment.

    Args and errors are those of :func:`open_training_run`.

    Returns:
        The resolution; and the active ``wandb.Run`` of this process, or None.
    """
    handoff, active_run = find_run(user_run, pickled)
    resolution = resolve(
        options,
        default,
        local=handoff_of_open_run(active_run) if active_run is not None else None,
        handoff=handoff,
        earlier=earlier,
        topology=Topology.from_env(),
        host=socket.gethostname(),
        env=os.environ,
        new_id=_new_run_id(options.name or default.get("name") or "train"),
    )
    return resolution, active_run


def open_run(resolution: RunResolution, active_run: Any = None) -> GuardedRun | None:
    """Open the run of a resolution.

    Args:
        resolution: The resolution.
        active_run: The open run of this process, to adopt.

    Returns:
        The guarded run. None if W&B is disabled or, with ``on_error="warn"``, no run could be opened.

    Raises:
        ConfigurationError: The open run cannot be shared, or W&B would refuse a variable of the environment.
        ConnectionError: The launcher's run is not reachable, with ``on_error="raise"``.
        wandb.errors.Error: W&B refuses or cannot be reached, with ``on_error="raise"``.
    """
    options = resolution.options
    run_ids_with_callback.add(resolution.base_id)
    if resolution.action == "skip":
        _log_disabled(options, resolution.cause)
        return None
    if resolution.action in {"new", "resume"}:
        validate_environment({name for name in RUN_ONLY_OPTIONS if getattr(options, name)})
    guarded_run: GuardedRun | None
    try:
        guarded_run = _open(resolution, active_run)
    except ConfigurationError:
        raise
    except Exception as error:
        if options.on_error == "raise":
            raise
        guarded_run = _open_offline(resolution, format_exception(error))
    if guarded_run is None or guarded_run.wandb_run.disabled:
        if guarded_run:
            guarded_run.close(0)  # a later training would take it, as wandb.run, for the user's run
            _log_disabled(options, DISABLED_SETTINGS)
        return None
    guarded_run.base_id = resolution.base_id
    if resolution.is_main:
        guarded_run.links = Links.of_run(guarded_run.wandb_run, resolution.nodes)
    _log_resolution(guarded_run, resolution)
    return guarded_run


def _open(resolution: RunResolution, active_run: Any) -> GuardedRun:
    """Adopt, attach to, resume or create the run of a resolution."""
    options, handoff, writer = resolution.options, resolution.handoff, resolution.writer
    if resolution.error:
        raise resolution.error
    if resolution.action == "adopt":
        return GuardedRun(active_run, "adopt", options, handoff)
    if resolution.action == "attach" and handoff:
        return GuardedRun(attach(handoff), "attach", options, handoff)
    if options.dir:
        with suppress(OSError):  # the run is then put elsewhere
            Path(options.dir).mkdir(parents=True, exist_ok=True)
    if resolution.action == "resume" and handoff:
        handoff.delete_handback()
        run = resume_run(options, handoff, "allow", hands_back=handoff.state == "closed", writer=writer)
    else:
        run = init_run(
            options, run_id=resolution.plan.run_id, resume=resolution.resume, writer=writer, **resolution.init
        )
    return _register_owned(GuardedRun(run, "shared" if writer else resolution.action, options, handoff))


def _open_offline(resolution: RunResolution, reason: str) -> GuardedRun | None:
    """Open a part of the run on disk if W&B cannot be used."""
    options, handoff = resolution.options, resolution.handoff
    try:
        if handoff is None:
            raise RuntimeError(reason)  # noqa: TRY301  # handled like a disk that cannot be written
        run = init_run(replace(options, mode="offline"), run_id=handoff.run_id, resume="allow")
    except Exception as error:  # noqa: BLE001  # no error of W&B ends the training
        msg = "no W&B run for this training: %s; the training goes on without logging"
        if not resolution.is_main:
            msg = "no W&B run for this rank: %s; the training goes on without it"
        logger.warning(msg, format_exception(error))
        return None
    msg = "%s: this training's part of the run is written to disk, send it when the launcher is done with: %s"
    logger.warning(msg, reason, sync_command(get_run_dir(run)))
    return _register_owned(GuardedRun(run, "resume", options))


def _register_owned(guarded_run: GuardedRun) -> GuardedRun:
    registry.owned.append(guarded_run)
    return guarded_run


def _log_disabled(options: RunOptions, otherwise: str) -> None:
    """Log the cause that W&B is disabled: the user's option, the variable or ``otherwise``."""
    if options.mode is None and os.environ.get("WANDB_MODE") == "disabled":
        cause = "WANDB_MODE=disabled"
    else:
        cause = "mode='disabled'" if options.mode == "disabled" else otherwise
    logger.info("W&B is disabled (%s): nothing of this training is logged", cause)


def _log_resolution(guarded_run: GuardedRun, resolution: RunResolution) -> None:
    """Log the run and how the rank got it.

    The message leaves out the address if W&B has just printed it: for a run opened here, unless W&B is silent.
    """
    verb = {"adopt": "logging to", "attach": "attached to", "resume": "resumed", "new": "made", "shared": "sharing"}
    run = guarded_run.wandb_run
    if guarded_run.origin == "resume" and not guarded_run.has_existed and not may_have_existed(run, guarded_run.mode):
        verb["resume"] = "made"
    is_shown = run.offline or (guarded_run.origin not in {"adopt", "attach"} and not run.settings.silent)
    links = "" if is_shown else str(guarded_run.links)
    address = links and f": {links}"
    is_alone = not resolution.is_main or resolution.plan.mode != "new"
    beside = "" if is_alone else f"; each other rank logs to one of its own in group {run.group}"
    logger.info("%s run %s of project %s%s%s", verb[guarded_run.origin], run.id, run.project, address, beside)


def warn_of_lost_run(guarded_run: GuardedRun, checkpoint: Any, save_dir: Path) -> None:
    """Warn that a resumed training logs to a new run.

    Without a run record beside the checkpoint, the run of the first epochs is not known.

    Args:
        guarded_run: The run that was created.
        checkpoint: The value of Ultralytics' ``resume``.
        save_dir: Directory of the training, as the checkpoint names it.
    """
    if guarded_run.origin != "new":
        return
    msg = (
        "the resumed training goes on in the new run %s: which run holds its first epochs is not known, as there is no "
        "%s beside the checkpoint (%s) or in %s; to continue that run, start again with WANDB_RUN_ID and WANDB_PROJECT "
        "set to it, or copy its %s beside the checkpoint"
    )
    logger.warning(msg, guarded_run.wandb_run.id, RECORD_FILE, checkpoint, save_dir, RECORD_FILE)


def reopen_run(
    handoff: Handoff, options: RunOptions, default: Mapping[str, Any], *, only_if_open: bool
) -> GuardedRun | None:
    """Return the run of an ended training, reopened if it is closed.

    Args:
        handoff: The run.
        options: The user's options.
        default: Directory of the run, if the user did not set it.
        only_if_open: Whether a run that is not open in this process stays closed.

    Returns:
        The guarded run. None if no run could be opened, or W&B is disabled.

    Raises:
        wandb.errors.Error: W&B refuses or cannot be reached, with ``on_error="raise"``.
    """
    exported = Handoff.from_env()
    if exported and exported.run_id == handoff.run_id:
        handoff = replace(handoff, is_job_run=exported.is_job_run)
    active_run = registry.opened[handoff.run_id].run if handoff.run_id in registry.opened else wandb_run()
    is_active = active_run is not None and active_run.id == handoff.run_id and not is_closed(active_run)
    if (only_if_open and not is_active) or (is_active and active_run.disabled):
        return None
    resolution = RunResolution(
        "adopt" if is_active else "resume", _continued_options(handoff, options, default), handoff, handoff.run_id
    )
    try:
        guarded_run = _open(resolution, active_run)
    except Exception as error:
        if options.on_error == "raise":
            raise
        logger.warning("run %s cannot be finished: %s", handoff.run_id, format_exception(error))
        return None
    if guarded_run.wandb_run.disabled:
        return None
    if not is_active:
        guarded_run.links = Links.of_run(guarded_run.wandb_run)
    return guarded_run


def _new_run_id(name: str) -> str:
    """Return an id like the stock callback's, but unique within one second."""
    readable = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:64]
    return f"{readable}_{datetime.now().astimezone():%Y%m%d_%H%M%S}_{secrets.token_hex(2)}"
