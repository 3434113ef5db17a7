"""How a logging rank gets its run, and with which exit code it ends: decisions without side effects.

A logging rank gets its run by the first of these that applies: *adopt* a run of this process, *attach* to a run that
is open in the launcher, *resume* a closed one, or make a *new* one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ultralytics_wb_ddp.config.options import OFFLINE
from ultralytics_wb_ddp.config.validation import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ultralytics_wb_ddp.config.options import RunOptions
    from ultralytics_wb_ddp.handoff import Handoff


@dataclass(frozen=True)
class Plan:
    """How a logging rank gets its run.

    Attributes:
        how: ``"adopt"``, ``"attach"``, ``"resume"``, ``"new"``, ``"skip"`` (W&B is disabled) or ``"refuse"``.
        handoff: The run to attach to or to resume.
        reason: Why no run can be had, with the remedy, where ``how`` is ``"refuse"``.
    """

    how: str
    handoff: Handoff | None = None
    reason: str = ""


def choose(*, local: bool, handoff: Handoff | None, host: str, service: bool, earlier: Handoff | None) -> Plan:
    """Decide how a logging rank gets its run; pure, so that every case can be tested without W&B.

    Args:
        local: A run was given to this process or is active in it.
        handoff: The run that travelled with the callback or stands in the environment.
        host: Name of this host.
        service: The launcher's wandb-core service is named in the environment.
        earlier: The run that an earlier session of this training logged to, if the training is resumed.
    """
    if local:
        return Plan("adopt")
    if handoff and handoff.mode == "disabled":
        return Plan("skip")
    if handoff and handoff.state == "closed":
        return Plan("resume", handoff)
    if handoff and handoff.host != host:
        reason = f"run {handoff.run_id!r} is open on host {handoff.host!r} and cannot be reached from host {host!r}"
    elif handoff and not service:
        reason = f"run {handoff.run_id!r} is open in the launcher, but WANDB_SERVICE, which leads to it, is not set"
    elif handoff:
        return Plan("attach", handoff)
    else:
        return Plan("resume", earlier) if earlier else Plan("new")
    return Plan("refuse", reason=f"{reason}; call prepare_for_training() or finish the run before the training")


def which_ranks(options: RunOptions, handoff: Handoff | None, env: Mapping[str, str]) -> tuple[str, str]:
    """Return run mode and rank scope: what was asked for, or ``"auto"`` and ``"global"``.

    Args:
        options: What was asked for, here or by the launcher's configuration.
        handoff: The launcher's run.
        env: Environment variables; ``WANDB_MODE`` is read.

    Raises:
        ConfigurationError: Shared mode offline, which W&B does not have.
    """
    run_mode, rank_scope = options.which_ranks()
    run_mode, rank_scope = run_mode or "auto", rank_scope or "global"
    modes = (
        ("mode", options.mode),
        ("the launcher's run in mode", handoff and handoff.mode),
        ("WANDB_MODE", env.get("WANDB_MODE")),
    )
    name, mode = next((pair for pair in modes if pair[1]), ("", ""))
    if run_mode == "shared" and mode in OFFLINE:
        msg = (
            f"run_mode='shared' with {name}={mode!r}: W&B's shared mode needs its server; use run_mode='auto', by "
            "which rank 0 logs, or run_mode='new', by which each rank has a run of its own"
        )
        raise ConfigurationError(msg)
    return run_mode, rank_scope
