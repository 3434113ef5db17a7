"""The numbers that ranks send to rank 0, which waits for none of them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist

from ultralytics_wb_ddp.config.options import RunOptions
from ultralytics_wb_ddp.training import rank_coordinator
from ultralytics_wb_ddp.training.rank_coordinator import RankCoordinator


@pytest.fixture
def ranks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[RankCoordinator]]:
    """The coordinators of two ranks."""
    server = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setattr(rank_coordinator, "_training_numbers", itertools.repeat(0))
    launch = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(server.port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    coordinators = []
    for rank in ("0", "1"):
        for name, value in {**launch, "RANK": rank, "LOCAL_RANK": rank}.items():
            monkeypatch.setenv(name, value)
        coordinator = RankCoordinator(RunOptions(rank_metrics=True), None)
        coordinator.connect()
        coordinators.append(coordinator)
    yield coordinators
    for coordinator in coordinators:
        coordinator.close()
    del server


def trainer(loss: float) -> SimpleNamespace:
    loader = SimpleNamespace(sampler=range(8))
    return SimpleNamespace(train_loader=loader, tloss=torch.tensor(loss), device=torch.device("cpu"))


def test_rank_that_reports_is_in_the_row_and_one_that_is_silent_is_left_out(ranks: list[RankCoordinator]) -> None:
    zero, one = ranks
    assert one.exchange_rank_metrics(trainer(4.0), 1) == {}
    zero.prefetch_rank_metrics(1)
    deadline = time.monotonic() + 10
    while not zero._pending_rank_metrics.is_answered and time.monotonic() < deadline:  # noqa: SLF001
        time.sleep(0.01)

    first = zero.exchange_rank_metrics(trainer(1.0), 1)
    zero.prefetch_rank_metrics(2)
    second = zero.exchange_rank_metrics(trainer(1.0), 2)

    assert (first["ranks/0/loss"], first["ranks/1/loss"], first["ranks/spread/loss"]) == (1.0, 4.0, 3.0)
    assert second["ranks/0/loss"] == 1.0
    assert not [key for key in second if key.startswith("ranks/1/")]


def test_epoch_is_reported_once(ranks: list[RankCoordinator]) -> None:
    assert ranks[0].exchange_rank_metrics(trainer(1.0), 1)
    assert ranks[0].exchange_rank_metrics(trainer(1.0), 1) == {}, "the evaluation of the best checkpoint"


def test_options_switch_the_measuring_of_ranks_and_the_collecting_of_mistakes_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)

    on, off = (RankCoordinator(RunOptions(rank_metrics=bool(count), mistakes=count), None) for count in (3, 0))

    assert (on.timer is None, on.mistakes is None) == (False, False)
    assert (off.timer, off.mistakes) == (None, None)
