"""Parse device arguments, which several rooms count and split."""

from __future__ import annotations

from typing import Any


def parse_devices(device: Any) -> list[str]:
    """Return the names in a device argument, without the prefix ``cuda:``.

    Args:
        device: A device in Ultralytics' notation: ``0``, ``"cpu"``, ``"0,1"``, ``"[0, 1]"``, ``"cuda:0"``, a list of
            such names, or None.

    Returns:
        The names, such as ``["0", "1"]``; none if Ultralytics chooses the device.
    """
    names = (
        device if isinstance(device, (list, tuple)) else str("" if device is None else device).strip("[]() ").split(",")
    )
    return [name for name in (str(name).strip(" '\"").removeprefix("cuda:") for name in names) if name]
