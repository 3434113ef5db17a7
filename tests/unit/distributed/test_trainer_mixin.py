"""Devices and nodes of a launch, as its trainers see them."""

from __future__ import annotations

from typing import Any

import pytest

from ultralytics_wb_ddp.distributed.trainer_mixin import device_names, local_device_number, spans_nodes


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


@pytest.mark.parametrize(
    ("env", "several"),
    [
        ({}, False),
        ({"WORLD_SIZE": "4"}, False),
        ({"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4"}, False),
        ({"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}, True),
    ],
)
def test_training_spans_nodes_if_a_node_has_not_all_processes(
    env: dict[str, str],
    several: bool,  # noqa: FBT001  # a table of expectations
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)

    assert spans_nodes() is several


@pytest.mark.parametrize(
    ("device", "names"), [("0,1", ["0", "1"]), ("cuda:1", ["1"]), ("cpu", []), ("mps", []), (None, []), ([2], ["2"])]
)
def test_devices_of_a_launch_are_gpus(device: Any, names: list[str]) -> None:
    assert device_names(device) == names
