"""A cross-validation whose fold 1 fails at first; started again, the group trains it alone."""

from __future__ import annotations

import os
from typing import Any

from scenarios.common import CFG, ONE_PROCESS, TWO_PROCESSES, new_model, run_named
from ultralytics_wb_ddp import RunGroup, WandbManager, add_wandb_callback

SCORES = [1.0, 2.0, 4.0]
FAILURE = "fold 1 fails"


def start(processes_of_fold_2: str, **options: Any) -> RunGroup[WandbManager]:
    arguments_of_fold_2 = TWO_PROCESSES if processes_of_fold_2 == "two" else ONE_PROCESS
    with WandbManager.group(CFG, "cv", runs=3, metrics=["metrics/*", "score"], **options) as group:
        for fold, manager in group:
            with manager:
                model = new_model()
                add_wandb_callback(model)
                if fold == 2:
                    manager.prepare_for_training()
                if fold == 1 and not options:
                    raise RuntimeError(FAILURE)
                arguments = arguments_of_fold_2 if fold == 2 else ONE_PROCESS
                model.train(**{**arguments, "epochs": 1, "name": f"fold-{fold}"})
                manager.resume_after_training()
                manager.run.summary["score"] = SCORES[fold]
    return group


def attempt(processes_of_fold_2: str, **options: Any) -> RunGroup[WandbManager] | None:
    try:
        return start(processes_of_fold_2, **options)
    except Exception as error:
        print("the user gets:", type(error).__name__, error)
        return None


def interrupted(processes_of_fold_2: str) -> None:
    attempt(processes_of_fold_2)
    attempt(processes_of_fold_2)
    group = attempt(processes_of_fold_2, resume=True)
    assert group
    print("score:", group.statistics["score"], sorted(group.results))
    print("links:", group.links().group, group.links().run)
    assert not [name for name in os.environ if name.startswith("WANDB_RUN")]


if __name__ == "__main__":
    run_named(globals())
