"""Where a training is to be seen: its run, or one of each node, its project, group and sweep."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wandb_server import WandbServer

from support.jobs import Job, RunJob
from ultralytics_wb_ddp import Links, RankPlan, Topology
from ultralytics_wb_ddp.distributed.topology import plan_nodes
from ultralytics_wb_ddp.runs.run_record import RunRecord

# Rank 0 of two nodes with two processes each, and its runs in several modes, each closed and taken back once.
MANAGERS = """\
import json, os
from ultralytics_wb_ddp import WandbManager

found = {}
cases = [
    ("plain", {}, "my group"),
    ("nodes", {"rank_scope": "worker"}, None),
]
os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="4", LOCAL_WORLD_SIZE="2", GROUP_RANK="0", GROUP_WORLD_SIZE="2")
for name, options, group in cases:
    cfg = {"wandb": {"project": "demo", "id": name, **options}}
    with WandbManager(cfg, "job", group) as manager:
        assert manager.links().run == manager.wandb_url
    found[name] = manager.links().as_dict()
cfg["wandb"]["mode"] = "offline"
with WandbManager(cfg, "job") as manager:
    found["offline"] = manager.links().as_dict()
json.dump(found, open("links.json", "w"))
"""


@pytest.fixture(scope="module")
def found(run_job: RunJob) -> Iterator[tuple[str, Job, dict[str, Any]]]:
    """Address of the project, the job, and the links of each manager."""
    with WandbServer() as server:
        job = run_job(MANAGERS, prelude="", **server.environment)
        yield f"{server.url}/team/demo", job, json.loads((job.directory / "links.json").read_text())


def test_manager_leads_to_run_project_and_group_also_when_it_is_finished(
    found: tuple[str, Job, dict[str, Any]],
) -> None:
    project, _, links = found

    assert links["plain"] == {
        "run": f"{project}/runs/plain",
        "project": project,
        "group": f"{project}/groups/my%20group",
    }


def test_launchers_run_and_those_of_further_nodes_have_addresses_in_worker_scope(
    found: tuple[str, Job, dict[str, Any]],
) -> None:
    project, _, links = found

    assert links["nodes"]["nodes"] == {
        "worker-0": f"{project}/runs/nodes",
        "worker-1": f"{project}/runs/nodes-worker-1",
    }


def test_offline_there_is_the_command_that_sends_the_run(found: tuple[str, Job, dict[str, Any]]) -> None:
    _, job, links = found
    (folder,) = (job.directory / "wandb").glob("offline-run-*")

    assert links["offline"] == {"sync_command": f"ultralytics-wb-ddp sync {folder}"}


def test_links_of_a_training_are_in_its_directory(tmp_path: Path) -> None:
    links = Links(run="https://w/e/p/runs/r", project="https://w/e/p", nodes={"worker-0": "https://w/e/p/runs/r"})
    RunRecord("r", links=links.as_dict()).save(tmp_path)

    assert Links.of_training(tmp_path) == links
    run_of_stock_callback = tmp_path / "stock/wandb/run-20260101_000000-a/run-a.wandb"
    run_of_stock_callback.parent.mkdir(parents=True)
    run_of_stock_callback.touch()
    for other in ("other", "stock"):
        with pytest.raises(FileNotFoundError, match=r"has no wandb_run\.json; give the directory of a training"):
            Links.of_training(tmp_path / other)


def test_nodes_have_runs_of_their_own_in_worker_scope_only() -> None:
    place = Topology(3, 1, 4, 2, 1, 2)

    assert plan_nodes(place, "auto", "worker", "a") == {
        "worker-0": RankPlan("a-worker-0", label="worker-0"),
        "worker-1": RankPlan("a-worker-1", label="worker-1"),
    }
    assert plan_nodes(place, "new", "worker", "a")["worker-1"].within("mine").group == "mine"
    assert plan_nodes(place, "auto", "worker", "a")["worker-1"].within("mine").group is None
    assert plan_nodes(place, "auto", "global", "a") == {}
    assert plan_nodes(None, "auto", "worker", "a") == {}
    assert plan_nodes(Topology(0, 0, 2, 2, 0, 1), "auto", "worker", "a") == {}
