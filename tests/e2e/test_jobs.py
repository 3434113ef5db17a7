"""Jobs from a file: what they do, and how they end."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf
from wandb_server import WandbServer

from support.example_job import EXAMPLE, ONE_PROCESS, SMALL, TWO_PROCESSES, run_example, runs_below
from support.jobs import NIGHTLY, LaunchAgents, RunJob
from support.paths import TINY
from support.s3_service import S3Service
from ultralytics_wb_ddp import TrainingState

KEY = "hunter22" * 5


@pytest.mark.parametrize(
    "processes", [pytest.param(ONE_PROCESS, id="one"), pytest.param(TWO_PROCESSES, id="two", marks=NIGHTLY)]
)
def test_example_is_one_run_with_config_inputs_and_outputs(
    tmp_path: Path, shapes: Path, s3: S3Service, processes: list[str]
) -> None:
    bucket = s3.make_bucket()
    output = f"{{upload: weights/best.pt, s3: 's3://{bucket}/${{name}}/best.pt', name: final_model, aliases: [new]}}"
    done = run_example(
        tmp_path,
        shapes,
        *processes,
        "wandb.api_key=${oc.env:MY_KEY}",
        f"artifacts.inputs=[{TINY}]",
        f"artifacts.outputs=[{output}]",
        MY_KEY=KEY,
        **s3.environment,
    )

    assert done.returncode == 0, done.stderr[-5000:]
    (run,) = runs_below(tmp_path)
    assert (run.state, run.exit_code) == ("finished", 0)
    assert (run.project, run.name, run.group, run.tags) == ("demo", "coco8-baseline", "baselines", ("baseline",))
    assert [row["epoch"] for row in run.history if "epoch" in row] == [1, 2, 2, 2]
    artifacts = {artifact.name: artifact for artifact in run.artifacts}
    assert artifacts[f"run_{run.id}_training_inputs"].type == "training-inputs"
    assert "new" in artifacts["final_model"].aliases
    best = tmp_path / "runs/coco8-baseline/weights/best.pt"
    assert s3.get(bucket, "coco8-baseline/best.pt") == best.read_bytes()
    assert TrainingState.of(best).is_over
    assert not TrainingState.of(best).is_run_open
    (stored,) = (tmp_path / "wandb").rglob("training-job-config.yaml")
    assert OmegaConf.load(stored).train.epochs == 2
    assert "name: ${name}" in stored.read_text(encoding="utf-8")
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert [file for file in files if KEY.encode() in file.read_bytes()] == []


@NIGHTLY
def test_output_that_cannot_be_had_fails_the_job_and_keeps_no_other_back(
    tmp_path: Path, shapes: Path, s3: S3Service
) -> None:
    bucket = s3.make_bucket()
    missing = f"{{s3: 's3://{bucket}/nothing', name: missing}}"
    there = f"{{upload: weights, s3: 's3://{bucket}/weights', name: weights}}"
    done = run_example(tmp_path, shapes, *ONE_PROCESS, f"artifacts.outputs=[{missing},{there}]", **s3.environment)

    assert done.returncode == 1
    assert f"s3://{bucket}/nothing" in done.stderr.splitlines()[-1]
    (run,) = runs_below(tmp_path)
    assert (run.state, run.exit_code) == ("failed", 1)
    assert "weights" in {artifact.name for artifact in run.artifacts}
    assert {"weights/best.pt", "weights/last.pt"} <= set(s3.keys(bucket))


@NIGHTLY
def test_job_online_is_one_session_to_which_the_workers_attach(tmp_path: Path, shapes: Path) -> None:
    with WandbServer() as server:
        done = run_example(tmp_path, shapes, *TWO_PROCESSES, "wandb.mode=online", **server.environment)
        (run,) = server.runs

    assert done.returncode == 0, done.stderr[-5000:]
    assert (run.state, run.exit_code, run.sessions) == ("finished", 0, 1)
    assert [row["epoch"] for row in run.history if "epoch" in row] == [1, 2, 2, 2]


@NIGHTLY
def test_resumed_job_goes_on_in_its_run_once_its_rows_are_counted(tmp_path: Path, shapes: Path) -> None:
    checkpoint = tmp_path / "runs/coco8-baseline/weights/epoch0.pt"
    with WandbServer() as server:
        server.backend.count_lag = 25.0
        online = [*ONE_PROCESS, "wandb.mode=online"]
        begun = run_example(tmp_path, shapes, *online, "train.save_period=1", **server.environment)
        resumed = run_example(
            tmp_path, shapes, *online, f"model={checkpoint}", "train.resume=true", **server.environment
        )
        (run,) = server.runs

    assert (begun.returncode, resumed.returncode) == (0, 0), resumed.stderr[-5000:]
    assert (run.state, run.project) == ("finished", "demo")
    assert [row["epoch"] for row in run.history if "epoch" in row] == [1, 2, 2, 2, 2, 2, 2]


@NIGHTLY
def test_job_that_torchrun_has_started_is_one_run(launch_agents: LaunchAgents, shapes: Path, tmp_path: Path) -> None:
    words = ["train", str(EXAMPLE), *SMALL, *TWO_PROCESSES, f"train.data={shapes}", f"train.project={tmp_path}"]
    job = launch_agents("jobs.py", "command", *words)

    assert job.exit_code == 0, job.output[-5000:]
    assert (job.run.state, job.run.name) == ("finished", "coco8-baseline")
    assert [row["epoch"] for row in job.run.history if "epoch" in row] == [1, 2, 2, 2]


@NIGHTLY
def test_failed_worker_is_a_failed_run_and_exit_code(tmp_path: Path, shapes: Path) -> None:
    weights = tmp_path / "broken.pt"
    weights.write_bytes(b"no checkpoint")
    done = run_example(tmp_path, shapes, *TWO_PROCESSES, f"train.pretrained={weights}")

    assert done.returncode == 1
    assert "the training ended with exit code 1" in done.stderr.splitlines()[-1]
    (run,) = runs_below(tmp_path)
    assert (run.state, run.exit_code) == ("failed", 1)


@NIGHTLY
def test_run_job_takes_a_plain_mapping(run_job: RunJob) -> None:
    job = run_job("jobs.py", "plain_mapping")

    assert (job.run.project, job.run.name, job.run.state) == ("block", "plain", "finished")
    assert f"{job.run.id} None " in job.output
