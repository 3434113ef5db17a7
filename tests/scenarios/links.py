"""Managers of rank 0 of two nodes, in several modes: the links of each, when its run is finished."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from scenarios.calls import run_named
from ultralytics_wb_ddp import WandbManager

# Two nodes with two processes each.
LAUNCH = {
    "RANK": "0",
    "LOCAL_RANK": "0",
    "WORLD_SIZE": "4",
    "LOCAL_WORLD_SIZE": "2",
    "GROUP_RANK": "0",
    "GROUP_WORLD_SIZE": "2",
}


def links_of(run_id: str, group: str | None = None, **options: Any) -> dict[str, Any]:
    """Return the links of a manager whose run is finished."""
    with WandbManager({"wandb": {"project": "demo", "id": run_id, **options}}, "job", group) as manager:
        assert manager.links().run == manager.wandb_url
    return manager.links().as_dict()


def write_links() -> None:
    os.environ.update(LAUNCH)
    found = {
        "plain": links_of("plain", "my group"),
        "nodes": links_of("nodes", rank_scope="worker"),
        "offline": links_of("offline", rank_scope="worker", mode="offline"),
    }
    Path("links.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    run_named(globals())
