"""Trainings that are killed at their very end get their run finished, once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from wandb_server import WandbServer

from support.example_job import ONE_PROCESS, TWO_PROCESSES, run_example
from support.jobs import NIGHTLY, RunJob, wait_until_closed
from support.paths import TESTS
from ultralytics_wb_ddp.runs.run_record import RunRecord

SCENARIO = "training_state.py"


def files_below(directory: Path) -> dict[str, tuple[int, bytes]]:
    files = (file for file in directory.rglob("*") if file.is_file())
    return {str(file): (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


@NIGHTLY
@pytest.mark.parametrize(
    ("processes", "mode", "dies_in", "epochs"),
    [
        pytest.param("1", "online", "final_eval", [1, 2, 2], id="online"),
        pytest.param("1", "online", "save_model", [1, 2], id="before-the-last-row"),
        pytest.param("1", "offline", "final_eval", [], id="offline"),
        pytest.param("2", "online", "final_eval", [1, 2, 2], id="two-processes"),
    ],
)
def test_job_that_was_killed_at_its_very_end_gets_its_run_finished_once_and_is_not_trained_again(
    tmp_path: Path, shapes: Path, processes: str, mode: str, dies_in: str, epochs: list[int]
) -> None:
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    directory = tmp_path / "runs/coco8-baseline"
    words = [*(ONE_PROCESS if processes == "1" else TWO_PROCESSES), f"wandb.mode={mode}", "artifacts={}"]
    resume = [f"model={directory / 'weights/last.pt'}", "train.resume=true"]
    with WandbServer() as server:
        env = {**server.environment, "PYTHONPATH": path, "PROCESSES": processes, "DIES_IN": dies_in}
        died = run_example(tmp_path, shapes, *words, "train.trainer=scenarios.dying_trainer:DyingTrainer", **env)
        if mode == "online":
            wait_until_closed(server)
            (run,) = server.runs
            assert (died.returncode != 0, run.state) == (True, "failed")
        trained = files_below(directory)
        record = RunRecord.find(directory, None)
        assert record is not None
        assert record.is_unfinished

        again = run_example(tmp_path, shapes, *words, *resume, **env)
        ended = files_below(directory)
        once_more = run_example(tmp_path, shapes, *words, *resume, **env)

    assert (again.returncode, once_more.returncode) == (0, 0), again.stderr[-5000:]
    for said in (again.stderr, once_more.stderr):
        assert f"is over: 2 of 2 epochs, run {record.id}: nothing is trained" in " ".join(said.split())
    ours = ("wandb_run.json", "wandb_journal.jsonl")
    kept = [file for file in trained if not file.endswith(ours) and "/wandb/" not in file]
    assert {file: ended[file] for file in kept} == {file: trained[file] for file in kept}
    assert files_below(directory) == ended
    if mode == "online":
        (run,) = server.runs
        assert (run.state, run.exit_code, run.sessions) == ("finished", 0, 2)
        assert [row["epoch"] for row in run.history if "epoch" in row] == epochs


@pytest.mark.parametrize(
    "end", ["interrupt", pytest.param("die", marks=NIGHTLY), pytest.param("terminate", marks=NIGHTLY)]
)
def test_run_of_a_training_that_ended_after_its_last_epoch_is_finished_with_its_best_checkpoint(
    run_job: RunJob, end: str
) -> None:
    job = run_job(SCENARIO, "finish_a_training", end)
    first, last = sorted(job.runs, key=lambda run: run.path.stat().st_mtime_ns)

    assert first.state != "finished"
    assert "FIRST True True" in job.output
    assert "SECOND False False" in job.output
    assert first.id == last.id
    assert (last.state, last.exit_code) == ("finished", 0)
    assert any("best" in artifact.aliases for artifact in last.artifacts)
    assert any(name.startswith("final/metrics/") for name in last.summary)


@NIGHTLY
@pytest.mark.parametrize(
    ("mode", "count"),
    [
        pytest.param("offline", 3, id="offline-resumed-without-the-callback"),
        pytest.param("offline", 2, id="offline-last-epoch"),
        pytest.param("online", 3, id="online-resumed-without-the-callback"),
    ],
)
def test_epochs_that_only_the_results_file_has_are_logged_once_when_the_run_is_finished(
    run_job: RunJob, mode: str, count: int
) -> None:
    with WandbServer() as server:
        environment = server.environment if mode == "online" else {}
        job = run_job(SCENARIO, "finish_after_epochs_that_were_not_logged", str(count), **environment)
    runs = server.runs if mode == "online" else sorted(job.runs, key=lambda run: run.path.stat().st_mtime_ns)
    history = [row for run in runs for row in run.history]

    assert "FINISHED True" in job.output
    for key in ("train/box_loss", "val/box_loss", "lr/pg0"):
        assert [row["epoch"] for row in history if key in row] == [*range(1, count + 1)]
    assert (runs[-1].state, runs[-1].exit_code) == ("finished", 0)
    record = RunRecord.find(job.directory / "train", None)
    assert record is not None
    assert record.epoch == count
