"""Settings that cannot work are refused before anything is loaded or launched."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from ultralytics_wb_ddp import ConfigurationError, ParallelConfig, train_distributed
from ultralytics_wb_ddp.testing.cpu_trainers import CpuDDPTrainer

RANK_0 = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0"} | {
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "12355",
}


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_port_in_use_is_named_before_anything_is_loaded(busy_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ConfigurationError, match=f"MASTER_PORT={busy_port} is in use"):
        train_distributed(None, parallel=ParallelConfig(master_port=busy_port))


@pytest.mark.parametrize("device", ["0", "0,1,2", [0, 1, 2], "cpu"])
def test_devices_that_contradict_the_number_of_processes_are_named(device: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"parallel.world_size=2 contradicts device=.* name as many devices"):
        train_distributed(None, parallel=ParallelConfig(world_size=2), device=device)


@pytest.mark.parametrize("device", ["cpu", "0,1", None])
@pytest.mark.parametrize("env", [{}, RANK_0], ids=["launch", "rank"])
def test_output_device_is_refused_where_the_processes_are_on_the_cpu(
    device: str | None, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    config = ParallelConfig(world_size=2 if device != "cpu" or env else 1, output_device=0)

    with pytest.raises(
        ConfigurationError, match=r"parallel.output_device=0 is for processes on GPUs, and these are on"
    ):
        train_distributed(None, parallel=config, trainer=CpuDDPTrainer, device=device)


def test_port_in_use_is_named_before_a_launch(busy_port: int) -> None:
    with pytest.raises(ConfigurationError, match=f"MASTER_PORT={busy_port} is in use"):
        train_distributed(None, parallel=ParallelConfig(world_size=2, master_port=busy_port), device="0,1")


@pytest.mark.parametrize("rank", ["0", "1"])
def test_setting_that_contradicts_the_launch_is_refused_in_every_rank(
    rank: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**RANK_0, "RANK": rank, "LOCAL_RANK": rank}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ConfigurationError, match=r"parallel.world_size=4 contradicts WORLD_SIZE=2"):
        train_distributed(None, parallel={"parallel": {"world_size": 4}}, trainer=CpuDDPTrainer)
