"""Run modes that cannot be are refused in the launcher, and in every rank at the same point."""

from __future__ import annotations

import pytest

from ultralytics_wb_ddp import ConfigurationError, WandbCallback, WandbManager


@pytest.fixture(autouse=True)
def _no_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "GROUP_RANK", "LOCAL_WORLD_SIZE", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)


def test_unknown_mode_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="run_mode='every' is unknown; choose one of auto, new, shared"):
        WandbCallback(run_mode="every")  # type: ignore[arg-type]


def test_shared_mode_is_refused_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    callback = WandbCallback(run_mode="shared")
    monkeypatch.setenv("WANDB_MODE", "offline")

    with pytest.raises(ConfigurationError, match="run_mode='shared' with WANDB_MODE='offline'"):
        callback.check(None)


def test_manager_refuses_shared_mode_offline() -> None:
    cfg = {"wandb": {"project": "demo", "mode": "offline", "run_mode": "shared"}}

    with pytest.raises(ConfigurationError, match="run_mode='shared' with mode='offline'"):
        WandbManager(cfg, "job").initialize()


def test_local_rank_without_a_rank_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")

    with pytest.raises(ConfigurationError, match="LOCAL_RANK=0 is set and RANK is not"):
        WandbCallback().check(None)


@pytest.mark.parametrize("rank", ["0", "1"])
def test_worker_scope_is_refused_in_every_rank_where_the_nodes_are_unknown(
    monkeypatch: pytest.MonkeyPatch, rank: str
) -> None:
    for name, value in {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ConfigurationError, match="GROUP_RANK and LOCAL_WORLD_SIZE are not set"):
        WandbCallback(rank_scope="worker").check(None)
