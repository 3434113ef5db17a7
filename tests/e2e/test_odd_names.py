"""Runs whose ids are odd or long hold all that belongs to a training, and the doctor sees when they do not."""

from __future__ import annotations

from support.jobs import NIGHTLY, RunJob, RunOnline
from ultralytics_wb_ddp.config.names import model_collection
from ultralytics_wb_ddp.doctor.past_training_checks import check_training
from ultralytics_wb_ddp.wandb_client.run_file import find_run_files, read_run

SCENARIO = "odd_names.py"


def test_run_of_a_user_with_an_odd_and_long_id_holds_checkpoint_and_tables(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "train_with_a_long_id")
    (file,) = find_run_files(job.directory / "wandb")
    run = read_run(file)
    kinds = [artifact.type for artifact in run.artifacts]

    assert (len(run.id), run.state) == (128, "finished")
    assert model_collection(run.id) in {artifact.name for artifact in run.artifacts}
    assert kinds.count("run_table") >= 2
    assert "could not be logged" not in job.output
    findings = check_training(job.directory / "train", job.directory)
    assert {finding.check for finding in findings if finding.status != "ok"} == {"sent"}


@NIGHTLY
def test_checkpoint_of_a_run_with_an_odd_id_is_found_again(run_online: RunOnline) -> None:
    job, server = run_online(SCENARIO, "train_and_restore")
    (run,) = server.runs

    assert {artifact.name for artifact in run.artifacts} >= {model_collection(run.id)}
    assert "RESTORED True" in job.output
    assert "VERSIONS 0" not in job.output


@NIGHTLY
def test_doctor_sees_that_a_run_has_no_checkpoint(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "train_without_checkpoints")
    findings = check_training(job.directory / "train", job.directory)

    assert [finding.message for finding in findings if finding.check == "checkpoint"] == [
        f"run bare does not hold {job.directory / 'train/weights/best.pt'}"
    ]
