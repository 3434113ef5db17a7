"""The addresses that a manager gives: of its run, or of one run for each node, of the project and the group."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from wandb_server import WandbServer

from support.jobs import Job, RunJob


@pytest.fixture(scope="module")
def found(run_job: RunJob) -> Iterator[tuple[str, Job, dict[str, Any]]]:
    """Address of the project, the job, and the links of each manager."""
    with WandbServer() as server:
        job = run_job("links.py", "write_links", **server.environment)
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
