"""Faults of the W&B backend that tests of more than one folder use."""

from __future__ import annotations

from pathlib import Path

from wandb_server import WandbServer
from wandb_server.faults import Request


def mark_when_opening(server: WandbServer, place: Path) -> str:
    """Return the path of a file in ``place`` that appears while the run is being opened, which takes 3 s."""
    mark = place / "opening"

    def begins(_: Request) -> bool:
        mark.touch()
        return True

    server.faults.add("UpsertBucket", delay=3, times=1, when=begins)
    return str(mark)
