"""Check ``cfg.parallel`` and the environment: number of processes, rank, address, backend."""

from __future__ import annotations

import difflib
import errno
import os
import random
import socket
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, get_type_hints

from ultralytics_wb_ddp.config.options import OMEGACONF_MISSING
from ultralytics_wb_ddp.config.types import Flag, at_least
from ultralytics_wb_ddp.config.validation import ConfigurationError, Rule, check_known_keys, validate
from ultralytics_wb_ddp.distributed.slurm import FIRST_PORT, LOOPBACK, PORTS, integer, slurm_environment
from ultralytics_wb_ddp.distributed.topology import reject_lone_local_rank, validate_ranks
from ultralytics_wb_ddp.utils.serialization import to_plain

BACKENDS = ("nccl", "gloo", "mpi", "ucc", "hccl", "xccl")
LAST_PORT = 65_535
ELSEWHERE_REMEDIES = "the processes meet at parallel.master_addr and parallel.master_port"
OF_TORCHRUN = "it is an option of torchrun, which sets it for its processes: torchrun --{}"
OF_THE_PROCESS = "each process knows it from {} in the environment, which torchrun and srun set"
OF_ULTRALYTICS = "Ultralytics decides it for its models"
ELSEWHERE = {  # settings of other tools in such a section, and where they belong; null is accepted
    "init_method": ELSEWHERE_REMEDIES,
    "dist_url": ELSEWHERE_REMEDIES,
    "local_rank": OF_THE_PROCESS.format("LOCAL_RANK"),
    "local_world_size": OF_THE_PROCESS.format("LOCAL_WORLD_SIZE"),
    "nnodes": OF_TORCHRUN.format("nnodes"),
    "node_rank": OF_TORCHRUN.format("node_rank"),
    "nproc_per_node": OF_TORCHRUN.format("nproc_per_node"),
    "device": "the devices are an argument of the training: train.device, or device=[0, 1]",
    "device_ids": "each process has one of the training's devices: train.device, or device=[0, 1]",
    "timeout": "a collective may take 3 hours, as Ultralytics has it",
    "broadcast_buffers": OF_ULTRALYTICS,
    "bucket_cap_mb": OF_ULTRALYTICS,
    "gradient_as_bucket_view": OF_ULTRALYTICS,
    "static_graph": OF_ULTRALYTICS,
}
OF_EVERY_LAUNCH = {"init_method": "env://", "dist_url": "env://"}  # values that every launch uses
LOCAL_HOSTS = frozenset({LOOPBACK, "::1", "localhost"})
VARIABLE_OF_SETTING = {  # environment variable by setting
    "world_size": "WORLD_SIZE",
    "rank": "RANK",
    "master_addr": "MASTER_ADDR",
    "master_port": "MASTER_PORT",
}


def _as_integer(value: Any) -> Any:
    is_number = isinstance(value, str) and value.strip().lstrip("-").isdigit()  # ${oc.env:...} gives strings
    return int(value) if is_number else value


def _check_host(host: str) -> str:
    if not host.strip():
        raise ValueError
    return host


def _check_backend(backend: str) -> str:
    names = [part.rpartition(":")[2] for part in backend.split(",")]  # such as "cpu:gloo,cuda:nccl"
    if wrong := [name for name in names if name not in BACKENDS]:
        close = difflib.get_close_matches(wrong[0].lower(), BACKENDS, n=1)
        msg = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(BACKENDS)}"
        raise ValueError(msg)
    return backend


ProcessCount = Annotated[int, Rule("the number of processes on all nodes, 1 or more,", at_least(1), _as_integer)]
Rank = Annotated[int, Rule("a rank, counted from 0,", at_least(0), _as_integer)]
Host = Annotated[str, Rule("the name or the address of rank 0's host", _check_host)]
Port = Annotated[int, Rule(f"a port, from 1 to {LAST_PORT},", at_least(1, LAST_PORT), _as_integer)]
Backend = Annotated[str, Rule(f"a backend, such as {BACKENDS[0]!r},", _check_backend)]
GpuIndex = Annotated[int, Rule("the index of a GPU of this machine, counted from 0,", at_least(0), _as_integer)]


@dataclass(frozen=True)
class ParallelConfig:
    """The settings of ``cfg.parallel``.

    Torchrun, Slurm, PyTorch and Ultralytics choose the value of a setting that is None.

    Attributes:
        world_size: Number of processes on all nodes.
        rank: Rank of this process, from 0; for processes that neither torchrun nor srun has started.
        master_addr: Host of rank 0, at which all processes meet.
        master_port: Port on that host.
        backend: Backend of the process group: ``"nccl"`` between GPUs, ``"gloo"`` between CPUs.
        find_unused_parameters: Whether some parameters may have no gradient, as in
            ``torch.nn.parallel.DistributedDataParallel``. Ultralytics allows it unless ``compile`` is used.
        output_device: Index of the GPU for the output of ``DistributedDataParallel``, one of those that train on this
            machine; by default each process's own.

    Raises:
        ConfigurationError: A value is of a wrong type or outside its range.
    """

    world_size: ProcessCount | None = None
    rank: Rank | None = None
    master_addr: Host | None = None
    master_port: Port | None = None
    backend: Backend | None = None
    find_unused_parameters: Flag | None = None
    output_device: GpuIndex | None = None

    def __post_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if value is not None}
        kinds = get_type_hints(ParallelConfig, include_extras=True) if given else {}
        for name, value in given.items():
            object.__setattr__(self, name, validate(kinds[name], value, f"parallel.{name}"))
        if self.world_size is not None and self.rank is not None and self.rank >= self.world_size:
            msg = (
                f"parallel.rank={self.rank} is outside parallel.world_size={self.world_size}; "
                f"ranks go from 0 to {self.world_size - 1}"
            )
            raise ConfigurationError(msg)

    @classmethod
    def from_cfg(cls, cfg: Any) -> ParallelConfig:
        """Return the settings of ``cfg.parallel``, which may be missing.

        Args:
            cfg: An OmegaConf config, a mapping, a dataclass or a namespace.

        Raises:
            ConfigurationError: A setting is unknown or wrong.
        """
        section = cfg.get("parallel") if isinstance(cfg, Mapping) else getattr(cfg, "parallel", None)
        if isinstance(section, ParallelConfig):
            return section
        values = to_plain(section, resolve=True)
        if values is None:
            return cls()
        known = [field.name for field in fields(cls)]
        if not isinstance(values, dict):
            msg = f"parallel={values!r} is of type {type(values).__name__}; a section with {', '.join(known)} is read"
            raise ConfigurationError(msg)
        settings = {name: value for name, value in values.items() if value != OMEGACONF_MISSING}
        for name in [name for name in settings if name in ELSEWHERE]:
            value = settings.pop(name)
            if value is not None and value != OF_EVERY_LAUNCH.get(name):
                msg = f"parallel.{name}={value!r} has no use here: {ELSEWHERE[name]}; leave it out, or make it null"
                raise ConfigurationError(msg)
        check_known_keys(settings, known, "parallel")
        return cls(**settings)

    @classmethod
    def from_argument(cls, parallel: Any) -> ParallelConfig:
        """Return the settings in the argument ``parallel`` of a training.

        Args:
            parallel: These settings, a config with a section ``parallel``, the section alone, or None.

        Raises:
            ConfigurationError: A setting is unknown or wrong.
        """
        if isinstance(parallel, ParallelConfig):
            return parallel
        values = to_plain(parallel)
        if isinstance(values, dict) and "parallel" not in values:
            is_section = bool(values) and not any(isinstance(value, dict) for value in values.values())
            return cls.from_cfg({"parallel": parallel if is_section else None})
        return cls.from_cfg(parallel)

    def is_distributed(self, env: Mapping[str, str] | None = None) -> bool:
        """Return whether this process is a rank of a distributed training.

        Such a process was started by torchrun, by srun or by hand. It launches no other processes.

        Args:
            env: Environment variables, by default those of this process.
        """
        env = os.environ if env is None else env
        return self.rank is not None or integer(env, "RANK", -1) >= 0 or bool(slurm_environment(env))

    def resolve(self, env: Mapping[str, str] | None = None, *, check_port: bool = True) -> dict[str, str]:
        """Return the environment variables of this process for PyTorch and Ultralytics.

        These settings must not contradict the environment. A value that is in neither comes from Slurm in a task of
        srun, and otherwise from the defaults for one node.

        Args:
            env: Environment variables of torchrun, srun or the user; by default those of this process.
            check_port: Whether the port must be free if this process opens it. Rank 0 does, unless torchrun does.

        Returns:
            RANK, LOCAL_RANK, WORLD_SIZE, LOCAL_WORLD_SIZE, GROUP_RANK, MASTER_ADDR and MASTER_PORT for a process of a
            distributed training. In a launcher, only MASTER_PORT: the configured port, or a free one.

        Raises:
            ConfigurationError: A value is missing or contradicts another one, or the port is in use.
        """
        env = os.environ if env is None else env
        variables = {name: value.strip() for name, value in env.items() if value.strip()}
        self._check_contradictions(variables)
        if not self.is_distributed(variables):
            return self._resolve_launcher(variables, check_port=check_port)
        launched = integer(variables, "RANK", -1) >= 0
        if not launched:
            variables.pop("RANK", None)
            slurm = slurm_environment(variables)
            if slurm:
                self._check_contradictions(slurm, skip=("master_addr", "master_port"))
                _check_slurm(slurm, variables)
            variables = {**slurm, **variables}
        return self._worker_environment({**variables, **self._as_variables()}, check_port=check_port)

    # Helpers

    def _as_variables(self) -> dict[str, str]:
        values = {variable: getattr(self, name) for name, variable in VARIABLE_OF_SETTING.items()}
        return {variable: str(value) for variable, value in values.items() if value is not None}

    def _check_contradictions(self, env: Mapping[str, str], skip: tuple[str, ...] = ()) -> None:
        for name, variable in VARIABLE_OF_SETTING.items():
            setting, env_value = getattr(self, name), env.get(variable)
            if setting is None or env_value is None or name in skip or (variable == "RANK" and env_value == "-1"):
                continue
            if (env_value if name == "master_addr" else integer(env, variable)) != setting:
                msg = (
                    f"parallel.{name}={setting!r} contradicts {variable}={env_value} in the environment; leave "
                    f"parallel.{name} out, or start the processes accordingly"
                )
                raise ConfigurationError(msg)

    def _resolve_launcher(self, env: Mapping[str, str], *, check_port: bool) -> dict[str, str]:
        reject_lone_local_rank(env)
        if self.master_addr is not None and self.master_addr not in LOCAL_HOSTS:
            msg = (
                f"parallel.master_addr={self.master_addr!r} is for several nodes, and RANK is missing; start the "
                f"script on each of them with torchrun or srun, or leave parallel.master_addr out"
            )
            raise ConfigurationError(msg)
        if self.master_port is None:
            return {"MASTER_PORT": str(find_free_port())}
        if check_port and not is_port_free(self.master_port):
            raise ConfigurationError(_port_in_use_message(self.master_port))
        return {"MASTER_PORT": str(self.master_port)}

    @staticmethod
    def _worker_environment(env: Mapping[str, str], *, check_port: bool) -> dict[str, str]:
        rank = integer(env, "RANK")
        if "WORLD_SIZE" not in env:
            msg = f"rank is {rank} and the number of processes is unknown; set WORLD_SIZE or parallel.world_size"
            raise ConfigurationError(msg)
        world_size = integer(env, "WORLD_SIZE")
        if "LOCAL_WORLD_SIZE" not in env and env.get("LOCAL_RANK", str(rank)) != str(rank):
            msg = (
                f"LOCAL_RANK={env['LOCAL_RANK']} differs from RANK={rank}, so that there are several nodes, and "
                f"LOCAL_WORLD_SIZE is missing; set it to the number of processes on this node"
            )
            raise ConfigurationError(msg)
        local_world_size = integer(env, "LOCAL_WORLD_SIZE", world_size)
        local_rank = validate_ranks(env, rank, world_size, local_world_size)
        if local_world_size > world_size:
            msg = f"LOCAL_WORLD_SIZE={local_world_size} is more than WORLD_SIZE={world_size}; torchrun sets both"
            raise ConfigurationError(msg)
        several = local_world_size < world_size
        if several and "MASTER_ADDR" not in env:
            msg = "MASTER_ADDR is missing; set it or parallel.master_addr to the host of rank 0, on all nodes alike"
            raise ConfigurationError(msg)
        if world_size > 1 and "MASTER_PORT" not in env:
            msg = "MASTER_PORT is missing; set it or parallel.master_port, to the same free port in all processes"
            raise ConfigurationError(msg)
        port = integer(env, "MASTER_PORT") if "MASTER_PORT" in env else find_free_port()
        if not 1 <= port <= LAST_PORT:  # with 0 each process would get another port
            msg = (
                f"MASTER_PORT={port} is no port; ports go from 1 to {LAST_PORT}, torchrun --standalone finds a free one"
            )
            raise ConfigurationError(msg)
        opens_it = rank == 0 and env.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
        if check_port and opens_it and not is_port_free(port):
            raise ConfigurationError(_port_in_use_message(port))
        return {
            "RANK": str(rank),
            "LOCAL_RANK": str(local_rank),
            "WORLD_SIZE": str(world_size),
            "LOCAL_WORLD_SIZE": str(local_world_size),
            "GROUP_RANK": str(integer(env, "GROUP_RANK", rank // local_world_size)),
            "MASTER_ADDR": env.get("MASTER_ADDR", LOOPBACK),
            "MASTER_PORT": str(port),
        }


def find_free_port() -> int:
    """Return a free port outside of Linux's range for outgoing connections."""
    candidates = random.SystemRandom().sample(range(FIRST_PORT, FIRST_PORT + PORTS), 50)
    return next(port for port in candidates if is_port_free(port))


def is_port_free(port: int) -> bool:
    """Return whether PyTorch could open a port on this host's addresses."""
    return _can_open(socket.AF_INET, "0.0.0.0", port) and _can_open(socket.AF_INET6, "::", port)  # noqa: S104  # a try


def _can_open(family: socket.AddressFamily, address: str, port: int) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as PyTorch does; for ports just closed
            attempt.bind((address, port))
    except OSError as error:
        return error.errno not in {errno.EADDRINUSE, errno.EACCES}  # else: no such family of addresses on this host
    return True


def _port_in_use_message(port: int) -> str:
    return (
        f"MASTER_PORT={port} is in use on this host, perhaps by another training; choose another: "
        f"parallel.master_port, MASTER_PORT, torchrun --master_port"
    )


def _check_slurm(slurm: Mapping[str, str], env: Mapping[str, str]) -> None:
    """Refuse variables that the user set and that contradict Slurm."""
    for name in ("WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK"):
        if name in env and env[name] != slurm[name]:
            msg = f"{name}={env[name]} contradicts Slurm, where it is {slurm[name]}; unset {name}"
            raise ConfigurationError(msg)
