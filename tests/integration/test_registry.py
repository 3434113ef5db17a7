"""The model registry: checkpoints linked by the real client against the W&B backend on loopback."""

from __future__ import annotations

from wandb_server import WandbServer

from support.jobs import NIGHTLY, RunJob

SCENARIO = "registry_links.py"


def test_checkpoint_is_linked_to_registries_and_portfolios(run_job: RunJob) -> None:
    registry, own, other = [
        ("organization", "wandb-registry-model", "yolo"),
        ("team", "demo", "portfolio"),
        ("team", "other", "portfolio"),
    ]
    with WandbServer() as server:
        job = run_job(SCENARIO, "link_to_registries_and_portfolios", **server.environment)
        (run,) = server.runs

    assert [line for line in job.output.splitlines() if line.endswith("True")] == [
        "{} {} {}:v0 True".format(*place) for place in (registry, registry, own, other)
    ]
    assert server.backend.store.links == dict.fromkeys((registry, own, other), run.artifacts)


@NIGHTLY
def test_checkpoint_that_cannot_be_linked_leaves_a_message_and_the_run_goes_on(run_job: RunJob) -> None:
    with WandbServer() as server:
        fault = server.faults.add("LinkArtifact", hang=True, when=lambda request: b"wandb-registry" in request.body)
        job = run_job(SCENARIO, "link_what_cannot_be_linked", **server.environment)
        fault.remove()
        (run,) = server.runs

    assert "artifact run_r_model is not linked to 'wandb-registry-model/yolo': it took longer than 2 s" in job.output
    assert "wandb.Api().artifact('team/demo/run_r_model:latest').link('wandb-registry-model/yolo')" in job.output
    assert (
        "artifact run_r_model is not linked to 'yolo': the form is 'wandb-registry-REGISTRY/COLLECTION'" in job.output
    )
    assert "does not take an artifact of type model; check that it exists and takes this type" in job.output
    assert job.output.count("None") == 3
    assert (run.state, [row["goes"] for row in run.history]) == ("finished", ["on"])


@NIGHTLY
def test_offline_the_message_has_the_command_that_links_later(run_job: RunJob) -> None:
    job = run_job(SCENARIO, "link_offline_and_disabled")

    assert job.output.count("is not linked to") == 1
    command = "python -c \"import wandb; wandb.Api().artifact('team/demo/run_r_model:latest')"
    assert (
        f"W&B does that online only; when the run is sent: {command}.link('wandb-registry-model/yolo')\"" in job.output
    )
    assert [set(artifact.aliases) for artifact in job.runs[0].artifacts] == [{"best", "latest"}]
