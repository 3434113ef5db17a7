"""The model registry: checkpoints linked by the real client against the W&B backend on loopback."""

from __future__ import annotations

import pytest
from wandb_server import WandbServer

from support.jobs import RunJob
from ultralytics_wb_ddp import ConfigurationError, WandbConfig

PRELUDE = """\
import logging, wandb
from ultralytics_wb_ddp.artifacts.model_registry import link_checkpoint

def log(run, kind="model"):
    artifact = wandb.Artifact(f"run_{run.id}_{kind}", type=kind)
    with artifact.new_file("best.pt") as file:
        file.write(run.id)
    return run.log_artifact(artifact, aliases=["best"])

"""


def test_checkpoint_is_linked_to_registries_and_portfolios(run_job: RunJob) -> None:
    registry, own, other = [
        ("organization", "wandb-registry-model", "yolo"),
        ("team", "demo", "portfolio"),
        ("team", "other", "portfolio"),
    ]
    with WandbServer() as server:
        job = run_job(
            """\
            with wandb.init(project="demo", id="r") as run:
                artifact = log(run)
                for target in (
                    "wandb-registry-model/yolo",
                    "organization/wandb-registry-model/yolo",
                    "demo/portfolio",
                    "team/other/portfolio",
                ):
                    linked = link_checkpoint(run, artifact, target)
                    print(linked.entity, linked.project, linked.name, linked.is_link)
            """,
            prelude=PRELUDE,
            **server.environment,
        )
        (run,) = server.runs

    assert [line for line in job.output.splitlines() if line.endswith("True")] == [
        "{} {} {}:v0 True".format(*place) for place in (registry, registry, own, other)
    ]
    assert server.backend.store.links == dict.fromkeys((registry, own, other), run.artifacts)


def test_checkpoint_that_cannot_be_linked_leaves_a_message_and_the_run_goes_on(run_job: RunJob) -> None:
    with WandbServer() as server:
        fault = server.faults.add("LinkArtifact", hang=True, when=lambda request: b"wandb-registry" in request.body)
        job = run_job(
            """\
            with wandb.init(project="demo", id="r") as run:
                print(link_checkpoint(run, log(run), "wandb-registry-model/yolo", timeout=2))
                link_checkpoint(run, log(run, "dataset"), "demo/portfolio")
                print(link_checkpoint(run, log(run), "demo/portfolio"))
                print(link_checkpoint(run, log(run), "yolo"))
                run.log({"goes": "on"})
            """,
            prelude=PRELUDE,
            **server.environment,
        )
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


def test_offline_the_message_has_the_command_that_links_later(run_job: RunJob) -> None:
    job = run_job(
        """\
        with wandb.init(project="demo", id="r", entity="team") as run:
            assert link_checkpoint(run, log(run), "wandb-registry-model/yolo") is None
        with wandb.init(mode="disabled") as run:
            assert link_checkpoint(run, None, "wandb-registry-model/yolo") is None
        """,
        prelude=PRELUDE,
    )

    assert job.output.count("is not linked to") == 1
    command = "python -c \"import wandb; wandb.Api().artifact('team/demo/run_r_model:latest')"
    assert (
        f"W&B does that online only; when the run is sent: {command}.link('wandb-registry-model/yolo')\"" in job.output
    )
    assert [set(artifact.aliases) for artifact in job.runs[0].artifacts] == [{"best", "latest"}]


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("yolo", "the form is"),
        ("", "the form is"),
        ("a/b/c/d", "the form is"),
        ("registry/", "the form is"),
        ("demo/yolo:best", "refuses :"),
        ("wandb-registry-/yolo", "the registry has no name"),
        ("demo/" + "x" * 129, "more than 128 characters"),
        (7, "a string is expected"),
    ],
)
def test_link_that_wandb_would_refuse_is_a_configuration_error(target: object, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=f"cfg.wandb.link=.*{problem}"):
        WandbConfig.from_cfg({"wandb": {"project": "demo", "link": target}})


def test_link_is_an_option_of_the_config() -> None:
    config = WandbConfig.from_cfg({"wandb": {"project": "demo", "link": "wandb-registry-model/yolo"}})

    assert config.link == "wandb-registry-model/yolo"
    assert WandbConfig.from_cfg({"wandb": {"project": "demo"}}).link is None
