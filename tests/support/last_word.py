"""The last line that an offline run of the user's prints: the command that sends it."""

from __future__ import annotations

from support.jobs import Job


def commands(job: Job) -> list[str]:
    """Return the lines that name a command of ours."""
    return [line for line in job.output.splitlines() if " is on disk only; send it with: " in line]


def check_last_word(job: Job) -> None:
    """Assert that the run's command is named once, after that of W&B's client and after all else."""
    (folder,) = (job.directory / "wandb").glob("offline-run-*-mine")
    message = f"ultralytics_wb_ddp: INFO: run mine is on disk only; send it with: ultralytics-wb-ddp sync {folder}"
    assert commands(job) == [message]
    assert job.output.index("wandb sync /") < job.output.index(message)
    assert job.output.splitlines()[-1] == message
