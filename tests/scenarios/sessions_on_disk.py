"""Sessions of a run that leave on disk what W&B may lack; Ultralytics is not loaded."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import wandb
from PIL import Image

from scenarios.calls import run_named
from ultralytics_wb_ddp.wandb_client.internals import use_artifact


def be_cut_off(first: str, resume: str | None = None) -> None:
    """Be killed: the rows of the first seconds have arrived, the last has not."""
    x = int(first)
    Image.new("RGB", (4, 4)).save("picture.png")
    settings = {"x_file_stream_transmit_interval": 2, "x_transaction_log_flush_interval": 0.1}
    run = wandb.init(project="demo", id="abc", resume=resume, settings=settings)
    run.log({"x": x, "image": wandb.Image("picture.png")})
    run.log({"x": x + 1})
    time.sleep(4)
    run.log({"x": x + 2})
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)


def log_one_row() -> None:
    with wandb.init(project="demo", id="abc") as run:
        run.log({"x": 0})


def log_all_that_there_is() -> None:
    run = wandb.init(project="demo", id="abc", mode="offline", resume="allow", config={"lr": 0.1})
    for x in range(3):
        run.log({"x": x})
    Path("note.txt").write_text("what is kept", encoding="utf-8")
    run.save("note.txt")
    artifact = wandb.Artifact("weights", "model")
    artifact.add_file("note.txt")
    run.log_artifact(artifact)
    dataset = wandb.Artifact("images", "dataset")
    dataset.add_reference("s3://bucket/images", checksum=False)
    use_artifact(run, dataset)  # as a training does it
    run.finish(exit_code=2)


def log_long_text() -> None:
    with wandb.init(project="demo") as run:
        run.log({"text": "x" * 70_000})


def go_on(rows: str, mode: str, exit_code: str) -> None:
    """Log pairs of x and score in another session of the run."""
    run = wandb.init(project="demo", id="abc", resume="allow", mode=mode, config={"lr": 0.2})
    run.define_metric("score", summary="max")
    for x, score in json.loads(rows):
        run.log({"x": x, "score": score})
    run.finish(exit_code=int(exit_code))


def log_artifacts_in_two_sessions() -> None:
    for number in range(2):
        with wandb.init(project="demo", id="abc", resume="allow", mode="offline") as run:
            run.log({"x": number})
            Path("note.txt").write_text(f"note {number}", encoding="utf-8")
            artifact = wandb.Artifact(f"note-{number}", "note")
            artifact.add_file("note.txt")
            run.log_artifact(artifact)


if __name__ == "__main__":
    run_named(globals())
