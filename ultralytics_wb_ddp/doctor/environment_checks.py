"""Check for environment variables that another job has left over."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from ultralytics_wb_ddp.config.validation import ConfigurationError
from ultralytics_wb_ddp.distributed.topology import Topology, is_main_process
from ultralytics_wb_ddp.doctor.finding import CheckResult, error, ok, warning
from ultralytics_wb_ddp.runs.handoff import HANDOFF_VARIABLE, Handoff

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ultralytics_wb_ddp.doctor.finding import DoctorRequest


CHECK = "environment"
EFFECTS = {
    "WANDB_SWEEP_ID": "the run that is created joins this sweep",
    "WANDB_RESUME": "it decides in every wandb.init whether a run is continued",
    "WANDB_DISABLED": "the W&B client ignores it, so the training is logged; use WANDB_MODE=disabled instead",
}
TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
SOCKET = re.compile(r"\d+-(\d+)-(?:unix-(.+)|tcp-.+)")


def check_leftovers(request: DoctorRequest, env: Mapping[str, str] | None = None) -> list[CheckResult]:
    """Return a result for each variable that another job has left over."""
    env = os.environ if env is None else env
    findings = [*_handoff(request, env), *_service(env), *_ranks(env)]
    findings += [
        warning(CHECK, f"{name}={env[name]}: {effect}", _unset(name))
        for name, effect in EFFECTS.items()
        if env.get(name)
    ]
    return findings or [ok(CHECK, "nothing is left over from another job")]


def _handoff(request: DoctorRequest, env: Mapping[str, str]) -> Iterator[CheckResult]:
    try:
        handoff = Handoff.from_env(env)
    except ConfigurationError as problem:
        name = HANDOFF_VARIABLE if str(problem).startswith(HANDOFF_VARIABLE) else "WANDB_RUN_ID"
        yield error(CHECK, str(problem), _unset(name))
        return
    if handoff is None:
        if env.get(HANDOFF_VARIABLE):
            yield warning(
                CHECK, f"{HANDOFF_VARIABLE} is set, but without WANDB_RUN_ID it is not read", _unset(HANDOFF_VARIABLE)
            )
        return
    if request.options.id not in {None, handoff.run_id}:
        explanation = f"a manager continues {request.options.id}, and a callback without a manager {handoff.run_id}"
        text = f"WANDB_RUN_ID={handoff.run_id} and the id {request.options.id} are two runs: {explanation}"
    elif request.options.id:
        return
    else:
        text = f"WANDB_RUN_ID={handoff.run_id}: the training continues this run instead of making a new one"
    names = "WANDB_RUN_ID" if not env.get(HANDOFF_VARIABLE) else f"WANDB_RUN_ID {HANDOFF_VARIABLE}"
    yield warning(CHECK, text, f"{_unset(names)}, unless that is meant")


def _service(env: Mapping[str, str]) -> Iterator[CheckResult]:
    """Check whether the process in WANDB_SERVICE is alive. Otherwise ``wandb.init`` fails."""
    token = env.get("WANDB_SERVICE", "")
    parts = SOCKET.fullmatch(token)
    if not token:
        return
    if parts is None or not psutil.pid_exists(int(parts[1])) or (parts[2] and not Path(parts[2]).exists()):
        text = f"WANDB_SERVICE={token} leads to a service that is gone: wandb.init in the script fails"
        yield error(CHECK, text, _unset("WANDB_SERVICE"))
    else:
        text = f"WANDB_SERVICE={token}: the script's runs live and die with process {parts[1]}"
        yield warning(CHECK, text, f"{_unset('WANDB_SERVICE')}, unless that process starts the training")


def _ranks(env: Mapping[str, str]) -> Iterator[CheckResult]:
    """Check for the variables of a worker, outside of one."""
    present = [name for name in TORCHRUN if env.get(name)]
    if not present:
        return
    shown, remedy = " ".join(f"{name}={env[name]}" for name in present), _unset(" ".join(present))
    try:
        topology, main = Topology.from_env(env), is_main_process(env)
    except ConfigurationError as problem:
        yield error(CHECK, str(problem), remedy)
        return
    if not main:
        yield error(
            CHECK, f"{shown}: what starts here counts as a worker that does not log, so there is no run", remedy
        )
    elif topology or "LOCAL_RANK" in present:
        yield warning(CHECK, f"{shown}: Ultralytics takes what starts here for a worker of torchrun", remedy)
    else:
        yield warning(CHECK, f"{shown}: torchrun sets it for its workers; here it has no use", remedy)


def _unset(names: str) -> str:
    return f"unset {names}"
