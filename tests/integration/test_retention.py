"""Which checkpoints W&B keeps, against the real client's public API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from wandb_server import WandbServer

from support.jobs import NIGHTLY, RunJob, run_command


@pytest.fixture(scope="module")
def server(run_job: RunJob) -> Iterator[WandbServer]:
    """A server with four versions of a run's model: v0 to v3, of which v1 is the best and v3 the last one."""
    with WandbServer() as server:
        run_job("retention.py", "log_four_versions", **server.environment)
        yield server


def kept(server: WandbServer) -> dict[str, int]:
    (run,) = server.runs
    return {f"v{item.version}": item.ttl_seconds for item in run.artifacts if item.state == "COMMITTED"}


def test_dry_run_ttl_and_deletion(server: WandbServer, tmp_path: Path) -> None:
    def pruned(*options: str) -> str:
        done = run_command(tmp_path, "prune", "team/demo/trained", *options, timeout=400, **server.environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    everything = {"v0": -2, "v1": -2, "v2": -2, "v3": -2}

    assert pruned("--keep", "0", "--dry-run") == (
        "v0 (epoch-1, 1 byte) would be deleted\nv2 (epoch-3, 1 byte) would be deleted\n"
    )
    assert kept(server) == everything
    assert pruned("--keep", "1", "--ttl", "7") == "v0 (epoch-1, 1 byte) is deleted in 7 days\n"
    assert kept(server) == {**everything, "v0": 7 * 24 * 3600}
    assert pruned("--keep", "1", "--ttl", "7") == "nothing to do\n"
    assert "v0 (epoch-1, 1 byte) is deleted" in pruned("--keep", "1")
    assert kept(server) == {"v1": -2, "v2": -2, "v3": -2}


@NIGHTLY
@pytest.mark.parametrize("path", ["team/demo/unknown", "trained"])
def test_run_without_checkpoints_is_named(server: WandbServer, tmp_path: Path, path: str) -> None:
    done = run_command(tmp_path, "prune", path, "--keep", "1", timeout=400, **server.environment)

    assert done.returncode == 1
    assert f"run '{path}'" in done.stderr
    assert "Traceback" not in done.stderr
