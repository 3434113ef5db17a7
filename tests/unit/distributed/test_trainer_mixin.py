"""The device of a rank, as the trainers of a launch count it."""

from __future__ import annotations

import pytest

from ultralytics_wb_ddp.distributed.trainer_mixin import local_device_number


@pytest.mark.parametrize(
    ("names", "own", "number"),
    [
        (["0", "1"], 1, 1),
        (["2", "3"], 3, 3),  # a release that counts as the user does
        (["2", "3"], 1, 1),  # one that shows its workers only the devices that train
        ([], None, 3),
    ],
)
def test_output_device_is_counted_as_the_worker_does(
    names: list[str], own: int | None, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")

    assert local_device_number(int((names or ["3"])[-1]), names, own) == number
