"""Device arguments, in every notation that Ultralytics takes."""

from __future__ import annotations

from typing import Any

import pytest

from ultralytics_wb_ddp.config.devices import parse_devices


@pytest.mark.parametrize(
    ("device", "names"),
    [
        (None, []),
        ("", []),
        ([], []),
        (0, ["0"]),
        ("0", ["0"]),
        ("cpu", ["cpu"]),
        (-1, ["-1"]),
        ("cuda:1", ["1"]),
        ("0,1", ["0", "1"]),
        (" 0, 1 ", ["0", "1"]),
        ("[0, 1]", ["0", "1"]),
        ("(0,1)", ["0", "1"]),
        ("['cuda:0', 'cuda:1']", ["0", "1"]),
        ([0, 1], ["0", "1"]),
        ((0, "cuda:1"), ["0", "1"]),
    ],
)
def test_names_of_devices(device: Any, names: list[str]) -> None:
    assert parse_devices(device) == names
