"""What is read from a run, and the command that sends it."""

from __future__ import annotations

from ultralytics_wb_ddp.wandb_client.run_state import sync_command


def test_part_that_was_written_offline_takes_the_same_command() -> None:
    assert sync_command("wandb/offline-run-1-a") == "ultralytics-wb-ddp sync wandb/offline-run-1-a"
    assert sync_command("wandb/run-1-a") == "ultralytics-wb-ddp sync wandb/run-1-a"
    assert sync_command("wandb/run-1-a", "x/offline-run-2-a").endswith(" sync wandb/run-1-a x/offline-run-2-a")
