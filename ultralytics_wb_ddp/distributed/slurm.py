"""Translate srun's environment variables to torchrun's, without Slurm and torch."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ultralytics_wb_ddp.config.validation import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping


LOOPBACK = "127.0.0.1"
FIRST_PORT, PORTS = 10_000, 20_000  # below the ports that Linux gives to outgoing connections (from 32,768)
STEP_STRIDE = 7_919  # a prime, so that steps of one job and jobs that follow each other get different ports
_TASKS = re.compile(r"(\d+)(?:\(x(\d+)\))?")


def slurm_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return torchrun's environment variables for a task of srun.

    ``SLURM_STEP_NUM_TASKS`` decides: only srun sets it. The shell of a batch file has ``SLURM_PROCID``, too.
    ``MASTER_PORT`` is 10000 + (``SLURM_JOB_ID`` + 7919 * ``SLURM_STEP_ID``) modulo 20000, so that all tasks agree and
    two jobs on one node rarely meet. The other variables are RANK, LOCAL_RANK, WORLD_SIZE, LOCAL_WORLD_SIZE, GROUP_RANK
    and MASTER_ADDR. For any other process, and in a step with one task, which is no distributed training, the
    dictionary is empty.

    Raises:
        ConfigurationError: A variable of Slurm is missing or invalid.
    """
    world_size = integer(env, "SLURM_STEP_NUM_TASKS", 1)
    if world_size < 2:  # noqa: PLR2004  # one process is no distributed training
        return {}
    node = integer(env, "SLURM_NODEID", 0)
    counts = tasks_per_node(env.get("SLURM_STEP_TASKS_PER_NODE", "") or str(world_size))
    if not 0 <= node < len(counts):
        msg = (
            f"SLURM_NODEID={node} has no entry in SLURM_STEP_TASKS_PER_NODE={env.get('SLURM_STEP_TASKS_PER_NODE')!r}; "
            f"srun sets both: start the training with srun"
        )
        raise ConfigurationError(msg)
    alone = counts[node] == world_size
    host = LOOPBACK if alone else first_host(env.get("SLURM_STEP_NODELIST", "")) or env.get("SLURM_LAUNCH_NODE_IPADDR")
    if not host:
        msg = "SLURM_STEP_NODELIST is missing, so that the first node is unknown; set MASTER_ADDR to its name"
        raise ConfigurationError(msg)
    port = FIRST_PORT + (integer(env, "SLURM_JOB_ID", 0) + STEP_STRIDE * integer(env, "SLURM_STEP_ID", 0)) % PORTS
    return {
        "RANK": str(integer(env, "SLURM_PROCID")),
        "LOCAL_RANK": str(integer(env, "SLURM_LOCALID")),
        "WORLD_SIZE": str(world_size),
        "LOCAL_WORLD_SIZE": str(counts[node]),
        "GROUP_RANK": str(node),
        "MASTER_ADDR": host,
        "MASTER_PORT": str(port),
    }


def tasks_per_node(text: str) -> list[int]:
    """Return the number of tasks on each node: ``4(x2),3`` is [4, 4, 3]."""
    counts: list[int] = []
    for part in text.split(","):
        match = _TASKS.fullmatch(part.strip())
        if not match:
            msg = f"SLURM_STEP_TASKS_PER_NODE={text!r} is not of the form '4(x2),3'; srun sets it"
            raise ConfigurationError(msg)
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def first_host(nodelist: str) -> str:
    """Return the first host of a list in Slurm's notation: ``node01`` for ``node[01-04,07],big1``."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", nodelist.strip())
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", first.group()) if first else ""


def integer(env: Mapping[str, str], name: str, default: int | None = None) -> int:
    """Return an environment variable as an integer. Empty counts as missing.

    Raises:
        ConfigurationError: It is no integer, or it is missing and there is no default.
    """
    text = env.get(name, "").strip()
    remedy = f"{'srun' if name.startswith('SLURM_') else 'torchrun'} sets it"
    if not text:
        if default is not None:
            return default
        msg = f"{name} is missing; {remedy}"
        raise ConfigurationError(msg)
    try:
        return int(text)
    except ValueError:
        msg = f"{name}={text!r} is no integer; {remedy}, unset it if this is no distributed training"
        raise ConfigurationError(msg) from None
