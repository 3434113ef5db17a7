"""Managers that download their run: when it is finished, and when it is on disk only."""

from __future__ import annotations

from pathlib import Path

from scenarios.calls import run_named
from ultralytics_wb_ddp import WandbManager


def log_a_run() -> WandbManager:
    """Return a manager whose run is finished."""
    with WandbManager({"wandb": {"project": "demo", "id": "r"}}, "job") as manager:
        manager.save_config({"lr": 0.1})
        print("what the job prints")
        for epoch in range(3):
            manager.run.log({"epoch": epoch, "loss": float("nan") if epoch == 1 else 1 / (epoch + 1)})
        manager.run.log({"note": 'a, "b"'})
    return manager


def download_a_finished_run() -> None:
    manager = log_a_run()
    Path("logs/files").mkdir(parents=True)
    Path("logs/files/config.yaml").write_text("of an older download")
    done = manager.download_logs("logs", strict=True)
    assert done
    print("downloaded", done.history, done.rows, done.console, len(done.files), done.missing)
    Path("file").touch()
    print(manager.download_logs("file/logs"), manager.download_logs("logs", format="xlsx"))


def download_a_run_on_disk() -> None:
    log_a_run().download_logs("logs")


if __name__ == "__main__":
    run_named(globals())
