"""A run with four versions of a model."""

from __future__ import annotations

import wandb

from scenarios.calls import run_named

ALIASES = [["epoch-1"], ["epoch-2", "best"], ["epoch-3"], ["epoch-4", "last"]]


def log_four_versions() -> None:
    with wandb.init(project="demo", id="trained") as run:
        for number, aliases in enumerate(ALIASES):
            artifact = wandb.Artifact("run_trained_model", type="model")
            with artifact.new_file("last.pt") as file:
                file.write(str(number))
            run.log_artifact(artifact, aliases=aliases).wait()


if __name__ == "__main__":
    run_named(globals())
