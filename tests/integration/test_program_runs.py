"""``wandb_init`` in one process: the run that it opens, guards and ends."""

from __future__ import annotations

import json

from support.jobs import RunJob

SCENARIO = "programs.py"


def test_decorated_function_logs_to_a_run_of_its_own_and_returns_its_value(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "decorated")

    assert json.loads((job.directory / "returned-0.json").read_text()) == "given" == job.run.id
    assert (job.run.project, job.run.state, job.run.exit_code) == ("demo", "finished", 0)
    assert [row["loss"] for row in job.run.history] == [1, 1]
    assert job.run.metrics == {}, "the program defines its own"


def test_argument_wins_over_a_scope_and_a_finish_inside_hides_no_failure(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "finish_inside_and_fail", check=False)

    assert (job.run.project, job.run.group) == ("outer", "inner")
    assert (job.run.state, job.run.exit_code) == ("failed", 1)
    assert f"run {job.run.id} stays open: wandb_init finishes it at its end" in job.output


def test_block_inside_of_a_block_is_refused_and_ends_the_outer_one(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "nest", check=False)

    assert "wandb_init(project='inner') inside of wandb_init(project='outer'): a process logs one program" in job.output
    assert (job.run.project, job.run.exit_code) == ("outer", 1)


def test_program_goes_on_in_its_run_after_wandb_core_was_killed(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "log_without_wandb_core")

    assert {part.id for part in job.runs} == {"goes-on"}
    before, after = sorted(job.runs, key=lambda part: part.exit_code is not None)
    assert [row["loss"] for part in (before, after) for row in part.history] == [1, 2, 3, 4]
    assert (after.summary["best"], after.config["late"], after.exit_code) == (7, True, 0)
    assert job.output.count("is written to disk, send it when the run is over with: ultralytics-wb-ddp sync") == 1
