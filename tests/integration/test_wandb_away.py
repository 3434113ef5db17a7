"""Commands while W&B is away, which W&B's own client tells in other words after half a minute."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from ultralytics_wb_ddp.artifacts.prune import find_checkpoints
from ultralytics_wb_ddp.cli.main import main
from ultralytics_wb_ddp.wandb_client.server import ServerError

KEY = "0123456789" * 4


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The address of a server that is not there, which W&B's client is set to."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.chdir(tmp_path)
    for name, value in {"WANDB_BASE_URL": url, "WANDB_API_KEY": KEY, "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    return url


@pytest.mark.parametrize(
    "arguments",
    [
        ["download", "team/demo/run", "there"],
        ["prune", "team/demo/run", "--keep", "1"],
        ["resume", "team/demo/run", "device=0"],
        ["sweep", "sweep.yaml", "--join", "team/demo/sweep"],
    ],
)
def test_wandb_that_is_away_is_told_with_its_address_and_the_remedy(
    away: str, tmp_path: Path, arguments: list[str]
) -> None:
    job = "{wandb: {project: demo}, model: yolo11n.yaml, train: {data: coco8.yaml}}"
    (tmp_path / "sweep.yaml").write_text(f"method: random\nparameters: {{seed: {{values: [1, 2]}}}}\njob: {job}\n")
    done = CliRunner().invoke(main, arguments)

    assert done.exit_code == 1
    assert f"{away} cannot be reached: Connection refused; check network, proxy and WANDB_BASE_URL" in done.stderr


def test_wandb_that_is_away_is_no_run_without_checkpoints(away: str) -> None:
    with pytest.raises(ServerError, match=f"{away} cannot be reached"):
        find_checkpoints("team", "demo", "run")
