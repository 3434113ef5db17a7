"""The life of a run online: the real client against a W&B backend on loopback that counts rows late, as W&B does."""

from __future__ import annotations

from conftest import RunOnline


def test_managers_run_is_closed_continued_by_rank_0_and_taken_back(run_online: RunOnline) -> None:
    _, run = run_online(
        """\
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
        count_lag=12.0,
    )

    assert run.destroyed_rows == []
    assert [row.get("epoch") for row in run.history] == [None, None, None, 1, 2, 2, 2, None]
    assert [row["_step"] for row in run.history] == list(range(8))
    assert (run.state, run.exit_code) == ("finished", 0)
    assert (run.fields["displayName"], run.fields["groupName"]) == ("my-training", "exp-1")
    assert run.metrics == {"train/*": "epoch", "lr/*": "epoch", "metrics/*": "epoch", "val/*": "epoch"}
    assert (run.values["epochs"], run.values["ultralytics"]) == (99, {"epochs": 2})
    assert run.values["imgsz"] == 64
    assert "configs/training-job-config.yaml" in run.files
    assert [artifact.type for artifact in run.artifacts if artifact.type == "model"] == ["model"]


def test_run_that_stays_open_is_attached_to(run_online: RunOnline) -> None:
    _, run = run_online("""\
with WandbManager(CFG, "job") as manager:
    manager.run.log({"before": 1})
    add_wandb_callback(model)
    model.train(**TWO_PROCESSES)
    manager.run.log({"after": 1})
""")

    assert [row.get("epoch") for row in run.history] == [None, 1, 2, 2, 2, None]
    assert run.destroyed_rows == []
    assert (run.state, run.exit_code) == ("finished", 0)


def test_failed_training_of_a_closed_run_ends_in_a_failed_run(run_online: RunOnline) -> None:
    job, run = run_online(
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
    assert [row.get("epoch") for row in run.history] == [None, 1]
    assert run.destroyed_rows == []
    assert (run.state, run.exit_code) == ("failed", 1)
