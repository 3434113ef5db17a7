"""The runs of a launch's ranks: rank 0's errors reach the others, waits are bounded, and exit codes are those of the cause."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch.distributed as dist

from ultralytics_wb_ddp.config.options import RunOptions
from ultralytics_wb_ddp.runs import rank_runs
from ultralytics_wb_ddp.runs.rank_runs import RankRuns
from ultralytics_wb_ddp.utils.errors import exit_code_of

MakeRank = Callable[..., RankRuns]


@pytest.fixture
def make_rank(monkeypatch: pytest.MonkeyPatch) -> MakeRank:
    """Return a function that makes one of two ranks, with a store that both use."""
    server = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    launch = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": server.port, "TORCHELASTIC_USE_AGENT_STORE": "True"}
    for name, value in {**launch, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "GROUP_RANK": 0}.items():
        monkeypatch.setenv(name, str(value))

    def make(rank: int, **options: Any) -> RankRuns:
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        ranks = RankRuns(RunOptions(**options), None, "program/0")
        ranks.open_store()
        assert server
        return ranks

    return make


def test_error_of_rank_0_is_raised_by_the_other_ranks_that_log(make_rank: MakeRank) -> None:
    first, other = make_rank(0, run_mode="new"), make_rank(1, run_mode="new")

    first.publish_failure(OSError("the disk is full"))

    with pytest.raises(ConnectionError, match=r"rank 0 could not open its run \(OSError: the disk is full\)"):
        other.open_rank_run(RunOptions())


def test_rank_opens_no_run_if_rank_0_has_none(make_rank: MakeRank) -> None:
    first, other = make_rank(0, run_mode="new"), make_rank(1, run_mode="new")

    first.publish(None)

    assert other.open_rank_run(RunOptions()) is None


def test_missing_rank_0_is_waited_for_a_limited_time(make_rank: MakeRank, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_runs, "RUN_PUBLISH_TIMEOUT", 0.1)
    other = make_rank(1, run_mode="new")

    assert other.open_rank_run(RunOptions()) is None
    with pytest.raises(TimeoutError, match="give the run an id that all ranks know, id= or WANDB_RUN_ID"):
        other.open_rank_run(RunOptions(on_error="raise"))


def test_exception_has_the_exit_code_of_the_rank_that_caused_it(make_rank: MakeRank) -> None:
    first, other = make_rank(0), make_rank(1)
    error = RuntimeError("connection closed by peer")

    other.report_exit_code(3)
    while not first.failed_exit_code():  # a busy machine
        time.sleep(0.01)

    assert first.exit_code_of(error) == exit_code_of(error) == 3
    assert first.exit_code_of(SystemExit(5)) == 5
    assert first.exit_code_of(None) == 0
