"""The weights that a training starts from: the files whose tensors the network holds, whatever its arguments say."""

from __future__ import annotations

import pytest

from support.jobs import NIGHTLY, Job, RunJob

SCENARIO = "starting_weights.py"


@pytest.fixture(scope="module")
def one_process(run_job: RunJob) -> Job:
    return run_job(SCENARIO, "train_in_one_process")


def weights_of(job: Job, title: str) -> list[str]:
    """Return which weights are inputs of a run."""
    (run,) = (run for run in job.runs if run.name == title)
    inputs = [artifact.name for artifact in run.artifacts if artifact.is_input and artifact.type == "model"]
    return [name.removeprefix("weights_") for name in inputs]


@NIGHTLY
@pytest.mark.parametrize(
    ("title", "weights"),
    [
        ("checkpoint", ["a"]),
        ("not pretrained", []),
        ("load", ["b"]),
        ("yaml", []),
        ("yaml load", ["a"]),
        ("other pretrained", ["b"]),
        ("fused", ["a"]),  # the layers that cannot be fused
        ("second", ["fused_best"]),  # of the first training of the same model
        ("load after", ["b"]),
    ],
)
def test_weights_are_those_that_the_network_holds(one_process: Job, title: str, weights: list[str]) -> None:
    assert weights_of(one_process, title) == weights


@NIGHTLY
def test_weights_are_those_that_the_network_of_the_workers_holds(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "train_in_two_processes")

    assert (weights_of(job, "load"), weights_of(job, "not pretrained")) == (["b"], [])
