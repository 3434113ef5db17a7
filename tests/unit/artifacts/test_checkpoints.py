"""The checkpoints that are due after an epoch."""

from __future__ import annotations

import pytest

from ultralytics_wb_ddp.artifacts.checkpoints import CheckpointPolicy
from ultralytics_wb_ddp.config.options import RunOptions


def policy(checkpoints: str, interval: int | None = None) -> CheckpointPolicy:
    return CheckpointPolicy.of(RunOptions(checkpoints=checkpoints, checkpoint_interval=interval))


@pytest.mark.parametrize(
    ("which", "epoch", "is_final", "is_best", "aliases"),
    [
        (policy("none", 1), 10, True, True, ()),
        (policy("best"), 10, False, True, ()),
        (policy("best"), 10, True, True, ()),  # it is logged after its evaluation
        (policy("best", 5), 10, False, True, ("best",)),
        (policy("best", 5), 10, False, False, ()),
        (policy("best+last"), 9, False, True, ()),
        (policy("best+last"), 10, False, True, ("best", "last", "epoch-10")),
        (policy("best+last"), 10, False, False, ("last", "epoch-10")),
        (policy("best+last", 0), 10, False, False, ()),
        (policy("best+last", 0), 13, True, True, ("last", "epoch-13")),
        (policy("all"), 3, False, False, ("last", "epoch-3")),
    ],
)
def test_checkpoint_is_due(
    which: CheckpointPolicy,
    epoch: int,
    is_final: bool,  # noqa: FBT001  # cases of a table
    is_best: bool,  # noqa: FBT001
    aliases: tuple[str, ...],
) -> None:
    assert which.aliases(epoch, is_final=is_final, is_best=is_best) == aliases


def test_best_checkpoint_of_an_earlier_epoch_is_due_at_the_interval() -> None:
    assert [epoch for epoch in range(1, 11) if policy("best", 5).best_is_due(epoch)] == [5, 10]
    assert not policy("best").best_is_due(10)
    assert not policy("none", 5).best_is_due(10)
