"""README and docs show what can be done: their code runs as it is written."""

from __future__ import annotations

import pytest

from support.documents import CODE
from support.jobs import NIGHTLY, RunJob
from support.s3_service import S3Service

OTHERS = ("upload_to_s3", "kfold", "wandb_init")
ONE_TRAINING = {name: code for name, code in CODE.items() if not any(word in code for word in OTHERS)}
ON_A_GPU_MACHINE = "from scenarios.documents import prepare_machine\n\nprepare_machine()\n"
AFTER_A_TRAINING = "from scenarios.documents import manager_after_training\n\nmanager = manager_after_training()\n"


# Trainings in two processes, in the usages A, B and C, are tested elsewhere.
CASES = [
    pytest.param(code, device, id=f"{name}-{device}", marks=() if (name, device) == ("README-1", "cpu") else NIGHTLY)
    for name, code in ONE_TRAINING.items()
    for device in ("cpu", "0,1")
]


@pytest.mark.parametrize(("code", "device"), CASES)
def test_code_runs_as_it_is_written(run_job: RunJob, code: str, device: str) -> None:
    job = run_job(code, prelude=ON_A_GPU_MACHINE, DEVICE=device)

    assert job.run.state == "finished"
    assert [row["epoch"] for row in job.run.history if "epoch" in row] == [1, 2, 2, 2]


@NIGHTLY
def test_code_for_s3_runs_as_it_is_written(run_job: RunJob, s3: S3Service, bucket: str) -> None:
    (code,) = (code for code in CODE.values() if "upload_to_s3" in code)

    job = run_job(code + "manager.finish()\n", prelude=AFTER_A_TRAINING, **s3.environment)

    (artifact,) = job.run.artifacts
    assert artifact.name == "checkpoints"
    assert s3.keys(bucket) == ["runs/1/best.pt"]


@NIGHTLY
def test_code_for_folds_runs_as_it_is_written(run_job: RunJob) -> None:
    (code,) = (code for code in CODE.values() if "kfold" in code)

    job = run_job(code, prelude=ON_A_GPU_MACHINE, DEVICE="0,1")

    assert {run.name for run in job.runs} == {"5-fold-summary", *(f"5-fold-fold-{fold}" for fold in range(5))}
    assert {run.state for run in job.runs} == {"finished"}
    assert "±" in job.output


def test_code_of_a_program_runs_as_it_is_written(run_job: RunJob) -> None:
    (code,) = (code for code in CODE.values() if "wandb_init" in code)

    job = run_job(code)

    assert [row["loss"] for row in job.run.history] == [1 / (step + 1) for step in range(10)]
    assert (job.run.project, job.run.state) == ("demo", "finished")
