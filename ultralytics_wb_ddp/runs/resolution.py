"""Decide which run a logging rank gets, and open the run."""

from __future__ import annotations

import os
import re
import secrets
import socket
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config.names import run_name
from ultralytics_wb_ddp.config.options import OFFLINE_MODES, RUN_ONLY_OPTIONS, RunOptions
from ultralytics_wb_ddp.config.validation import ConfigurationError, check_environment
from ultralytics_wb_ddp.distributed.topology import RankPlan
from ultralytics_wb_ddp.runs.guarded_run import GuardedRun, close_failed_runs
from ultralytics_wb_ddp.runs.handoff import Handoff
from ultralytics_wb_ddp.runs.lifecycle import SharedRunWriter, attach, init_run, resume_run
from ultralytics_wb_ddp.runs.links import Links
from ultralytics_wb_ddp.runs.misuse_warnings import run_ids_with_callback
from ultralytics_wb_ddp.runs.open_runs import (
    active_run_for,
    check_shared,
    may_have_existed,
    registry,
    resolve_handoff,
    set_handback_file,
)
from ultralytics_wb_ddp.runs.run_record import RECORD_FILE
from ultralytics_wb_ddp.utils.logging import format_exception, logger
from ultralytics_wb_ddp.wandb_client.run_state import get_run_dir, is_closed, is_shared, sync_command, wandb_run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ultralytics_wb_ddp.runs.run_record import RunRecord


@dataclass(frozen=True)
class RunResolution:
    """The way in which a logging rank gets its run.

    Attributes:
        action: ``"adopt"``, ``"attach"``, ``"resume"``, ``"new"``, ``"skip"`` (W&B is disabled) or ``"refuse"``.
        handoff: The run to attach to or to resume.
        reason: The reason of a ``"refuse"``, with the remedy.
    """

    action: str
    handoff: Handoff | None = None
    reason: str = ""


def resolve(
    *, local: bool, handoff: Handoff | None, host: str, service: bool, earlier: Handoff | None
) -> RunResolution:
    """Decide how a logging rank gets its run.

    The function is pure, so that every case can be tested without W&B.

    Args:
        local: Whether a run was given to this process or is active in it.
        handoff: The handoff that was pickled with the callback or is in the environment.
        host: Name of this host.
        service: Whether the environment or the handoff names the launcher's wandb-core.
        earlier: The run of the training's previous session, if the training is resumed.
    """
    if local:
        return RunResolution("adopt")
    if handoff and handoff.mode == "disabled":
        return RunResolution("skip")
    if handoff and handoff.state == "closed":
        return RunResolution("resume", handoff)
    if handoff and handoff.host != host:
        reason = f"run {handoff.run_id!r} is open on host {handoff.host!r} and cannot be reached from host {host!r}"
    elif handoff and not service:
        reason = f"run {handoff.run_id!r} is open in the launcher, but WANDB_SERVICE, which leads to it, is not set"
    elif handoff:
        return RunResolution("attach", handoff)
    else:
        return RunResolution("resume", earlier) if earlier else RunResolution("new")
    return RunResolution(
        "refuse", reason=f"{reason}; call prepare_for_training() or finish the run before the training"
    )


def logging_ranks(options: RunOptions, handoff: Handoff | None, env: Mapping[str, str]) -> tuple[str, str]:
    """Return run mode and rank scope, by default ``"auto"`` and ``"global"``.

    Args:
        options: The requested options, of this process or of the launcher's configuration.
        handoff: The launcher's run.
        env: Environment variables; ``WANDB_MODE`` is read.

    Raises:
        ConfigurationError: Shared mode offline, which W&B does not support.
    """
    run_mode, rank_scope = options.logging_mode()
    run_mode, rank_scope = run_mode or "auto", rank_scope or "global"
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


def open_run(
    run: Any,
    handoff: Handoff | None,
    options: RunOptions,
    *,
    earlier: RunRecord | None,
    default: RunOptions,
    which: Callable[[str], RankPlan | None] = RankPlan,
    nodes: Callable[[str], Mapping[str, RankPlan]] = lambda _: {},
) -> GuardedRun | None:
    """Open the run that the main process logs to.

    Args:
        run: The run that was given to this process, or None.
        handoff: The handoff that was pickled with the callback, or None for that of the environment.
        options: The user's options.
        earlier: Record of the training's previous session, if the training is resumed.
        default: Options of a new run for those that the user did not set.
        which: Function of the base id that returns the run of this rank.
        nodes: Function of the base id that returns the run of each node, if each node has its own.

    Returns:
        The guarded run. None if W&B is disabled or, with ``on_error="warn"``, no run could be opened.

    Raises:
        ConfigurationError: The handoff in the environment is damaged, or the open run cannot be shared.
        ConnectionError: The launcher's run is not reachable, with ``on_error="raise"``.
        wandb.errors.Error: W&B refuses or cannot be reached, with ``on_error="raise"``.
    """
    close_failed_runs()
    handoff = resolve_handoff(run, handoff)
    local = active_run_for(run, handoff)
    base_id = (
        (local and local.id)
        or (handoff and handoff.run_id)
        or (earlier and (earlier.base_id or earlier.id))
        or _new_run_id(options.name or default.name or "train")
    )
    run_ids_with_callback.add(base_id)
    rank_plan = which(base_id) or RankPlan(base_id)
    plan = resolve(
        local=local is not None,
        handoff=handoff,
        host=socket.gethostname(),
        service=bool((handoff and handoff.service) or os.environ.get("WANDB_SERVICE")),
        earlier=earlier.handoff() if earlier else None,
    )
    if plan.action == "skip" or (local is not None and local.disabled):
        _log_disabled(options)
        return None
    if plan.action in {"new", "resume"}:
        check_environment({name for name in RUN_ONLY_OPTIONS if getattr(options, name)})
    guarded_run: GuardedRun | None
    try:
        if rank_plan.mode == "new":
            guarded_run = _open_own(local, handoff, rank_plan, options, default)
        elif rank_plan.mode == "shared" and (local is None or not is_shared(local)):
            guarded_run = _open_shared(local, handoff, rank_plan, options, default)
        else:
            guarded_run = _open_resolved(plan, local, handoff, rank_plan, options, default)
    except ConfigurationError:
        raise
    except Exception as error:
        if options.on_error == "raise":
            raise
        guarded_run = _open_offline(handoff, options, default, format_exception(error))
    if guarded_run is None or guarded_run.wandb_run.disabled:
        if guarded_run:
            guarded_run.close(0)  # a later training would take it, as wandb.run, for the user's run
            _log_disabled(options)
        return None
    guarded_run.base_id = base_id
    guarded_run.links = Links.of_run(guarded_run.wandb_run, nodes(base_id))
    _log_resolution(guarded_run, rank_plan)
    return guarded_run


def _log_disabled(options: RunOptions) -> None:
    is_by_variable = options.mode is None and os.environ.get("WANDB_MODE") == "disabled"
    cause = "WANDB_MODE=disabled" if is_by_variable else "mode='disabled'"
    logger.info("W&B is disabled (%s): nothing of this training is logged", cause)


def _log_resolution(guarded_run: GuardedRun, rank_plan: RankPlan | None = None) -> None:
    """Log the run and how the rank got it.

    The message leaves out the address if W&B has just printed it: for a run opened here, unless W&B is silent.

    Args:
        guarded_run: The run.
        rank_plan: The run plan of this rank, in the main process.
    """
    verb = {"adopt": "logging to", "attach": "attached to", "resume": "resumed", "new": "made", "shared": "sharing"}
    run = guarded_run.wandb_run
    if guarded_run.origin == "resume" and not guarded_run.has_existed and not may_have_existed(run, guarded_run.mode):
        verb["resume"] = "made"
    is_shown = run.offline or (guarded_run.origin not in {"adopt", "attach"} and not run.settings.silent)
    links = "" if is_shown else str(guarded_run.links)
    address = links and f": {links}"
    is_alone = rank_plan is None or rank_plan.mode != "new"
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


def _open_resolved(
    plan: RunResolution,
    local: Any,
    handoff: Handoff | None,
    rank_plan: RankPlan,
    options: RunOptions,
    default: RunOptions,
) -> GuardedRun:
    """Adopt, attach to, resume or create the run of a resolution."""
    if plan.action == "refuse":
        raise ConnectionError(plan.reason)
    if plan.action == "adopt":
        return GuardedRun(local, "adopt", options, handoff)
    if plan.action == "attach" and plan.handoff:
        return GuardedRun(attach(plan.handoff), "attach", options, plan.handoff)
    if plan.handoff is None:
        new_options = _options_for_rank(options, rank_plan).with_defaults(default)
        return _register_owned(GuardedRun(init_run(new_options, run_id=rank_plan.run_id, resume=None), "new", options))
    plan.handoff.delete_handback()
    run = resume_run(_options_for_resume(plan.handoff, options, default), plan.handoff, "allow")
    set_handback_file(run, plan.handoff.handback_file)
    return _register_owned(GuardedRun(run, "resume", options, plan.handoff))


def _open_own(
    local: Any, handoff: Handoff | None, rank_plan: RankPlan, options: RunOptions, default: RunOptions
) -> GuardedRun:
    """Create a run for the main process, beside the launcher's run."""
    beside = Handoff.of_run(local, is_open=True) if local is not None else handoff
    rank_options = (
        _options_for_resume(beside, options, default) if beside else options.with_defaults(replace(default, name=None))
    )
    run = init_run(_options_for_rank(rank_options, rank_plan), run_id=rank_plan.run_id, resume="allow")
    return _register_owned(GuardedRun(run, "new", options))


def _open_shared(
    local: Any, handoff: Handoff | None, rank_plan: RankPlan, options: RunOptions, default: RunOptions
) -> GuardedRun:
    """Open the run as one of its shared writers.

    Raises:
        ConfigurationError: The launcher holds the run open without W&B's shared mode. A shared writer and a plain
            writer destroy each other's rows.
    """
    is_open = handoff is not None and handoff.state == "open"
    if local is not None:
        check_shared(local)
    if is_open and handoff and not handoff.is_shared:
        msg = (
            f"run_mode='shared' with run {handoff.run_id!r}, which is open in the launcher and cannot have other "
            "writers; open it with wandb.init(mode='shared'), or call prepare_for_training()"
        )
        raise ConfigurationError(msg)
    writer = SharedRunWriter(rank_plan.label or "rank-0", primary=True, ends_run=not is_open, measures=True)
    if handoff:
        handoff.delete_handback()
        resume_options = _options_for_resume(replace(handoff, mode=None), options, default)
        run = resume_run(resume_options, handoff, "allow", writer=writer)
        if not is_open:
            set_handback_file(run, handoff.handback_file)
    else:
        run = init_run(options.with_defaults(default), run_id=rank_plan.run_id, resume="allow", writer=writer)
    return _register_owned(GuardedRun(run, "shared", options, handoff))


def reopen_run(handoff: Handoff, options: RunOptions, default: RunOptions, *, only_if_open: bool) -> GuardedRun | None:
    """Return the run of an ended training, reopened if it is closed.

    Args:
        handoff: The run.
        options: The user's options.
        default: Options of a new run for those that the user did not set.
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
    if active_run is not None and active_run.id == handoff.run_id and not is_closed(active_run):
        return None if active_run.disabled else GuardedRun(active_run, "adopt", options, handoff)
    if only_if_open:
        return None
    try:
        run = resume_run(_options_for_resume(handoff, options, default), handoff, "allow")
    except Exception as error:
        if options.on_error == "raise":
            raise
        logger.warning("run %s cannot be finished: %s", handoff.run_id, format_exception(error))
        return None
    if run.disabled:
        return None
    guarded_run = _register_owned(GuardedRun(run, "resume", options, handoff))
    guarded_run.links = Links.of_run(run)
    return guarded_run


def open_rank_run(
    options: RunOptions,
    rank_plan: RankPlan,
    base: Handoff,
    *,
    config: Mapping[str, Any],
    writer: SharedRunWriter | None,
    measures: bool,
) -> GuardedRun | None:
    """Open the run of a rank that is not the main process.

    Args:
        options: Options of the run.
        rank_plan: The run plan of this rank.
        base: The run of the main process.
        config: The config of that run, which a further writer must not replace.
        writer: This rank's settings as a shared writer. None for a run of its own.
        measures: Whether this rank measures the machine. One rank of each node does.

    Returns:
        The guarded run. None if W&B is disabled or, with ``on_error="warn"``, no run could be opened.
    """
    close_failed_runs()
    rank_options = replace(options, project=base.project, entity=base.entity, mode=base.mode)
    try:
        if rank_options.dir:
            Path(rank_options.dir).mkdir(parents=True, exist_ok=True)
        if writer and base.mode == "online":
            run = init_run(rank_options, run_id=rank_plan.run_id, resume=None, writer=writer, config=dict(config))
        elif writer:  # the main process could not use W&B and writes to disk
            run = init_run(rank_options, run_id=rank_plan.run_id, resume="allow")
            msg = "what this rank logs to run %s is written to disk, send it after that of rank 0 with: %s"
            logger.warning(msg, run.id, sync_command(get_run_dir(run)))
        else:
            settings = {} if measures else {"x_disable_stats": True}
            run = init_run(
                _options_for_rank(rank_options, rank_plan), run_id=rank_plan.run_id, resume="allow", settings=settings
            )
    except Exception as error:
        if options.on_error == "raise":
            raise
        logger.warning("no W&B run for this rank: %s; the training goes on without it", format_exception(error))
        return None
    if run.disabled:
        return None
    guarded_run = _register_owned(GuardedRun(run, "shared" if writer else "new", options))
    _log_resolution(guarded_run)
    return guarded_run


def _options_for_rank(options: RunOptions, rank_plan: RankPlan) -> RunOptions:
    label = rank_plan.label or ""
    name = run_name(options.name, label) if options.name else rank_plan.label
    return replace(options, name=name, group=options.group or rank_plan.group)


def _open_offline(handoff: Handoff | None, options: RunOptions, default: RunOptions, reason: str) -> GuardedRun | None:
    """Open a part of the run on disk if W&B cannot be used."""
    try:
        if handoff is None:
            raise RuntimeError(reason)  # noqa: TRY301  # handled like a disk that cannot be written
        offline_options = replace(_options_for_resume(handoff, options, default), mode="offline")
        run = init_run(offline_options, run_id=handoff.run_id, resume="allow")
    except Exception as error:  # noqa: BLE001  # no error of W&B ends the training
        logger.warning(
            "no W&B run for this training: %s; the training goes on without logging", format_exception(error)
        )
        return None
    msg = "%s: this training's part of the run is written to disk, send it when the launcher is done with: %s"
    logger.warning(msg, reason, sync_command(get_run_dir(run)))
    return _register_owned(GuardedRun(run, "resume", options))


def _register_owned(guarded_run: GuardedRun) -> GuardedRun:
    registry.owned.append(guarded_run)
    return guarded_run


def _options_for_resume(handoff: Handoff, options: RunOptions, default: RunOptions) -> RunOptions:
    """Return the options to continue a run. Values of the handoff come before the user's."""
    named = RunOptions(project=handoff.project, entity=handoff.entity, mode=handoff.mode)
    unnamed = replace(options, project=None, entity=None, mode=None)
    return (
        unnamed.with_defaults(named)
        .with_defaults(options)
        .with_defaults(RunOptions(project=default.project, dir=default.dir))
    )


def _new_run_id(name: str) -> str:
    """Return an id like the stock callback's, but unique within one second."""
    readable = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:64]
    return f"{readable}_{datetime.now().astimezone():%Y%m%d_%H%M%S}_{secrets.token_hex(2)}"
