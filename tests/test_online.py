"""The life of a run online: the real client against a W&B backend on loopback that counts rows late, as W&B does."""

from __future__ import annotations

from typing import Any

from support.jobs import NIGHTLY, RunOnline
from support.measures import assert_is_one_whole_run

COMPLETE: dict[str, Any] = {"epochs": [1, 2, 2, 2], "state": "finished", "exit_code": 0}


def test_managers_run_is_closed_continued_by_rank_0_and_taken_back(run_online: RunOnline) -> None:
    _, server = run_online(
        """\
CFG["wandb"].update(tags=["baseline"], notes="what it is about", job_type="train")
with WandbManager(CFG, "my-training", "exp-1") as manager:
    manager.save_config(CFG)
    manager.run.config.update({"epochs": 99})
    for _ in range(3):
        manager.run.log({"before": 1})
    add_wandb_callback(model)
    manager.prepare_for_training()
    assert manager.run is None
    model.train(**TWO_PROCESSES)
    manager.resume_after_training()
    manager.run.log({"after": 1})
""",
        count_lag=4.0,
    )

    run = assert_is_one_whole_run("none: closed, resumed, taken back; counts 4 s late", server, **COMPLETE)
    assert [row.get("epoch") for row in run.history] == [None, None, None, 1, 2, 2, 2, None]
    assert run.sessions == 3
    assert (run.fields["displayName"], run.fields["groupName"]) == ("my-training", "exp-1")
    assert (run.fields["tags"], run.fields["notes"], run.fields["jobType"]) == (
        ["baseline"],
        "what it is about",
        "train",
    )
    assert run.summary["val/box_loss"] == {
        "min": min(row["val/box_loss"] for row in run.history if "val/box_loss" in row)
    }
    assert run.summary["metrics/mAP50-95(B)"].keys() == {"max"}
    assert run.summary["best/epoch"] in (1, 2)
    by_epoch = {f"{prefix}/*": "epoch" for prefix in ("train", "lr", "metrics", "val", "ranks")}
    assert run.metrics == {**by_epoch, "batch/*": "batch"}
    assert (run.values["epochs"], run.values["ultralytics"]) == (99, {"epochs": 2})
    assert run.values["imgsz"] == 64
    assert "configs/training-job-config.yaml" in run.files
    assert [artifact.type for artifact in run.artifacts if artifact.type == "model"] == ["model"]
    assert {artifact.name for artifact in run.used_artifacts} == {"dataset_shapes0", "training_config"}


@NIGHTLY
def test_run_that_stays_open_is_attached_to(run_online: RunOnline) -> None:
    _, server = run_online("""\
with WandbManager(CFG, "job") as manager:
    manager.run.log({"before": 1})
    add_wandb_callback(model)
    model.train(**TWO_PROCESSES)
    manager.run.log({"after": 1})
""")

    run = assert_is_one_whole_run("none: attached to", server, **COMPLETE)
    assert [row.get("epoch") for row in run.history] == [None, 1, 2, 2, 2, None]
    assert run.sessions == 1
    assert "2 epochs completed" in run.console, "which a worker has printed"
    assert b"2 epochs completed" in run.file("output.log")
    assert {artifact.name for artifact in run.used_artifacts} == {"dataset_shapes0", "training_config"}


@NIGHTLY
def test_failed_training_of_a_closed_run_ends_in_a_failed_run(run_online: RunOnline) -> None:
    job, server = run_online(
        """\
def fail(trainer):
    if trainer.epoch == 1 and os.environ["RANK"] == "0":
        raise RuntimeError("the training's own fault")
model.add_callback("on_train_epoch_start", fail)
with WandbManager(CFG, "job") as manager:
    manager.run.log({"before": 1})
    add_wandb_callback(model)
    manager.prepare_for_training()
    model.train(**TWO_PROCESSES)
""",
        check=False,
    )

    assert "CalledProcessError" in job.output
    run = assert_is_one_whole_run(
        "exception in rank 0, run closed and resumed", server, epochs=[1], state="failed", exit_code=1
    )
    assert run.sessions == 2, "the worker has recorded the failure, nobody opens the run for it again"


def test_session_that_would_write_over_rows_waits_until_they_are_counted(run_online: RunOnline) -> None:
    _, server = run_online(
        """\
with WandbManager(CFG, "job") as manager:
    for _ in range(3):
        manager.run.log({"before": 1})
    manager.prepare_for_training()
    manager.resume_after_training()
    manager.run.log({"after": 1})
""",
        count_lag=12.0,
    )

    run = assert_is_one_whole_run(
        "none: closed and taken back; counts 12 s late", server, epochs=[], state="finished", exit_code=0
    )
    assert len(run.history) == 4
