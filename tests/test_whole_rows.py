"""A row whose pictures, tables or names W&B cannot store: its numbers arrive, and what is missing is named."""

from __future__ import annotations

import re

import pytest

from support.jobs import NIGHTLY, Job, RunJob, RunOnline

# A row of each kind of trouble, through a session as a training has it.
ROWS = """
import wandb, logging
from PIL import Image
from pathlib import Path
from ultralytics_wb_ddp.metrics import trainer_rows
from ultralytics_wb_ddp.config.options import RunOptions
from ultralytics_wb_ddp.runs.guarded_run import GuardedRun

run = wandb.init(project="demo", mode="offline")
session = GuardedRun(run, "adopt", RunOptions(on_error=ON_ERROR))
session.start(Path("train"))
for name in ("good", "emptied", "deleted", "taken"):
    Image.new("RGB", (8, 8)).save(f"{name}.png")
plots = {Path(f"{name}.png"): {"timestamp": 1.0} for name in ("good", "emptied", "never", "deleted", "taken")}
plots["users own"] = {}
Path("emptied.png").write_bytes(b"")
images = trainer_rows.changed_plots(plots, {}, session.guard)
Path("deleted.png").unlink()
table = lambda: wandb.Table(columns=["a"], data=[[1]])
others = {"x" * 250: wandb.Image("good.png"), "t" * 200: table(), "tables/good": table(), "object": object(), 7: 1.0}
chart = wandb.plot_table("wandb/area-under-curve/v0", table(), fields={"x": "a"}, string_fields={"title": "t"})
Path(run.dir, "media/images").mkdir(parents=True)
for epoch in (1, 2):
    session.log({"train/box_loss": 0.5, **images, **others, "curves/good": chart, "epoch": epoch}, is_best=False)
session.close(0)
run.finish()
"""


@pytest.fixture(scope="module")
def troubled(run_job: RunJob) -> Job:
    return run_job("ON_ERROR = 'warn'\n" + ROWS)


def test_numbers_arrive_with_whatever_can_be_stored(troubled: Job) -> None:
    rows = troubled.run.history

    assert [(row["train/box_loss"], row["epoch"]) for row in rows] == [(0.5, 1), (0.5, 2)]
    for row in rows:
        stored = {key for key in row if not key.startswith("_")}
        assert stored >= {"good", "taken", "tables/good", "curves/good_table"}
        assert not stored & {"emptied", "never", "deleted", "object"}
    (good,) = (file for file in troubled.run.files if "/good_" in file and file.endswith(".png"))
    assert (troubled.run.path.parent / "files" / good).stat().st_size


@pytest.mark.parametrize(
    "name", ["plot emptied.png", "plot never.png", "plot users own", "deleted", "x" * 250, "t" * 200, "object", "7"]
)
def test_what_is_missing_is_named_once(troubled: Job, name: str) -> None:
    assert troubled.output.count(f" {name} could not be logged to run") == 1


def test_on_error_raise_still_raises(run_job: RunJob) -> None:
    job = run_job("ON_ERROR = 'raise'\n" + ROWS, check=False)

    assert job.exit_code == 1
    assert "UnidentifiedImageError" in job.output
    assert "could not be logged" not in job.output


# Directories that cannot be written

TRAINING = """
add_wandb_callback(model, checkpoints="best+last", project="demo"{run})
model.train(**{{**ONE_PROCESS, "epochs": 1, "plots": True}})
"""


def check_room(job: Job) -> None:
    assert {"per_class_metrics", "results"} <= set().union(*job.run.history)
    assert "model" in {artifact.type for artifact in job.run.artifacts}
    assert "could not be logged" not in job.output
    assert job.output.count("WANDB_DATA_DIR") == 1


def test_artifacts_and_tables_are_put_together_beside_the_run_where_the_home_cannot_be_written(run_job: RunJob) -> None:
    check_room(run_job(TRAINING.format(run=""), HOME="/dev/null/home"))


@NIGHTLY
def test_the_same_with_a_run_of_the_users(run_job: RunJob) -> None:
    script = "import wandb\nrun = wandb.init(project='demo')\n" + TRAINING.format(run=", run=run") + "run.finish()\n"
    check_room(run_job(script, WANDB_DATA_DIR="/dev/null/data", WANDB_CACHE_DIR="/dev/null/cache"))


def test_run_whose_directory_cannot_be_written_is_put_elsewhere_and_arrives(run_online: RunOnline) -> None:
    job, server = run_online("""
    manager = WandbManager({"wandb": {**CFG["wandb"], "dir": "/proc/nowhere"}}, "job")
    with manager:
        manager.run.log({"x": 1})
        print("FOLDER", manager.run.dir)
    """)
    (run,) = server.runs

    assert [row["x"] for row in run.history] == [1]
    assert run.state == "finished"
    (folder,) = re.findall(r"/proc/nowhere cannot be written, W&B's files are put in (\S+)", job.output)
    assert f"FOLDER {folder}/wandb/run-" in job.output


def test_table_that_was_stored_for_a_lost_run_is_stored_whole_for_the_next_one(run_job: RunJob) -> None:
    job = run_job(
        """\
import wandb
from ultralytics_wb_ddp.wandb_client.storage import store_value
from PIL import Image

classes = wandb.Classes([{"id": 0, "name": "circle"}])
image = wandb.Image(Image.new("RGB", (8, 8)), classes=classes)
table = wandb.Table(columns=["image"], data=[[image]])
lost = wandb.init(project="demo", id="lost")
store_value(lost, "images", table)
lost.finish()
run = wandb.init(project="demo", id="next")
store_value(run, "images", table)
run.log({"images": table})
run.finish()
""",
        prelude="",
    )
    (next_run,) = [run for run in job.runs if run.id == "next"]
    (artifact,) = next_run.artifacts

    assert any(path.endswith(".table.json") for path in artifact.entries)
    assert any(path.endswith(".classes.json") for path in artifact.entries)
    assert all(isinstance(size, int) and size > 0 for size in artifact.entries.values()), (
        "no entry refers to another run"
    )
