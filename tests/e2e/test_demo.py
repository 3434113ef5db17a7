"""The demo, as the README's first command runs it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from wandb_server import WandbServer

from support.jobs import NIGHTLY, run_command
from ultralytics_wb_ddp.wandb_client.run_file import find_run_files, read_run


def demo(directory: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return run_command(directory, "demo", *arguments, timeout=300, **env)


def test_demo_makes_one_run_and_shows_who_wrote_it(tmp_path: Path) -> None:
    done = demo(tmp_path, "--epochs", "2", "--images", "16")

    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = find_run_files(tmp_path)
    run = read_run(file)
    assert (run.state, run.exit_code) == ("finished", 0)
    assert [row.get("epoch") for row in run.history] == [None, 1, 2, 2, 2, None]
    assert {artifact.type for artifact in run.artifacts} >= {"training-inputs", "model"}
    for words in (
        f"1 run, finished with exit code 0: demo ({run.id})",
        "launcher, before 0 config file, training inputs",
        "1 to 4 epochs 1 to 2",
        "never imported wandb",
        "launcher, after 5 final model",
        f"folder ultralytics_wb_ddp_demo/wandb/{file.parent.name}",
        "leet ultralytics_wb_ddp_demo/wandb/latest-run",
        "sync ultralytics_wb_ddp_demo/wandb/latest-run",
    ):
        assert words in " ".join(done.stdout.split())
    lines = done.stdout.splitlines()
    assert max(len(line) for line in lines[-10:] if "/bin/" not in line) <= 80, "no line is broken in a terminal"
    assert (tmp_path / "ultralytics_wb_ddp_demo/wandb/latest-run").resolve() == file.parent


@NIGHTLY
def test_demo_online_sends_the_run_and_shows_the_same(tmp_path: Path) -> None:
    with WandbServer() as server:
        done = demo(tmp_path, "--online", "--epochs", "2", "--images", "16", **server.environment)
        (run,) = server.runs

    assert done.returncode == 0, done.stdout + done.stderr
    assert [row.get("epoch") for row in run.history] == [None, 1, 2, 2, 2, None]
    assert run.state == "finished"
    for words in (
        f"1 run, finished with exit code 0: demo ({run.id})",
        "launcher, before 0 config file, training inputs",
        "1 to 4 epochs 1 to 2",
        "launcher, after 5 final model",
        f"online {server.url}/team/",
    ):
        assert words in " ".join(done.stdout.split())
