"""Checkpoints that are linked to the model registry; Ultralytics is not loaded."""

from __future__ import annotations

from typing import Any

import wandb

from scenarios.calls import run_named
from ultralytics_wb_ddp.artifacts.model_registry import link_checkpoint


def log_checkpoint(run: Any, kind: str = "model") -> Any:
    artifact = wandb.Artifact(f"run_{run.id}_{kind}", type=kind)
    with artifact.new_file("best.pt") as file:
        file.write(run.id)
    return run.log_artifact(artifact, aliases=["best"])


def link_to_registries_and_portfolios() -> None:
    with wandb.init(project="demo", id="r") as run:
        artifact = log_checkpoint(run)
        for target in (
            "wandb-registry-model/yolo",
            "organization/wandb-registry-model/yolo",
            "demo/portfolio",
            "team/other/portfolio",
        ):
            linked = link_checkpoint(run, artifact, target)
            print(linked.entity, linked.project, linked.name, linked.is_link)


def link_what_cannot_be_linked() -> None:
    with wandb.init(project="demo", id="r") as run:
        print(link_checkpoint(run, log_checkpoint(run), "wandb-registry-model/yolo", timeout=2))
        link_checkpoint(run, log_checkpoint(run, "dataset"), "demo/portfolio")
        print(link_checkpoint(run, log_checkpoint(run), "demo/portfolio"))
        print(link_checkpoint(run, log_checkpoint(run), "yolo"))
        run.log({"goes": "on"})


def link_offline_and_disabled() -> None:
    with wandb.init(project="demo", id="r", entity="team") as run:
        assert link_checkpoint(run, log_checkpoint(run), "wandb-registry-model/yolo") is None
    with wandb.init(mode="disabled") as run:
        assert link_checkpoint(run, None, "wandb-registry-model/yolo") is None


if __name__ == "__main__":
    run_named(globals())
