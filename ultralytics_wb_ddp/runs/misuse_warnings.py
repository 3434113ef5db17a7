"""Wrong uses that would end well and empty: how they are noticed, and what is said of them."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.utils.logging import logger
from ultralytics_wb_ddp.wandb_client.run_state import is_closed

if TYPE_CHECKING:
    from collections.abc import Mapping


NEW_RUN_OPTIONS = ("project", "entity", "name", "group", "job_type", "tags", "notes", "mode")  # fixed once it is made
CHECKED_CALLBACKS = ("project", "entity")
run_ids_with_callback: set[str] = set()  # ids of the runs for which a callback of this process has started a training


class GivenOptions:
    """Options that a user has given somewhere, and what is said of those that have no effect.

    Args:
        values: The options by name.
        where: What they were given to.
        remedy: What to do instead.
    """

    def __init__(self, values: Mapping[str, Any], where: str, remedy: str) -> None:
        self._values = {name: values[name] for name in NEW_RUN_OPTIONS if values.get(name) is not None}
        self._where, self._remedy = where, remedy

    def warn(self, run: Any, *, is_made: bool = True) -> None:
        """Name those that say something else of a run than what it is, if there are any; once.

        Args:
            run: The run that is logged to; None, and one that is finished or disabled, say nothing.
            is_made: Whether it stays as it was made; else its project and its entity do.
        """
        if not self._values or run is None or run.disabled or is_closed(run):
            return
        found = unused_options(self._values, run)
        listed = [f"{name}={value!r}" for name, value in found.items() if is_made or name in CHECKED_CALLBACKS]
        if listed:
            self._values = {}
            msg = "%s of %s %s no effect: run %s is made already and stays as it is; %s"
            has = "has" if len(listed) == 1 else "have"
            logger.warning(msg, ", ".join(listed), self._where, has, run.id, self._remedy)


def unused_options(given: Mapping[str, Any], run: Any) -> dict[str, Any]:
    """Return the options that say something else of a run than what it is.

    Args:
        given: The options that the user has given, by name.
        run: The ``wandb.Run``.
    """
    mode = "disabled" if run.disabled else "offline" if run.offline else "online"
    found = {name: getattr(run, name, None) or None for name in NEW_RUN_OPTIONS if name != "mode"} | {"mode": mode}
    tags = set(found["tags"] or ())
    return {
        name: list(value) if name == "tags" else value
        for name, value in given.items()
        if not (set(value) <= tags if name == "tags" else value == found[name])
    }


def warn_of_finished_run(run: Any) -> None:
    """Say that a run which is finished goes on."""
    msg = (
        "run=%s is finished already: the training opens it again and adds its rows to it; leave run= out for a new run"
    )
    logger.warning(msg, run.id)


def warn_of_late_callback(model: Any) -> None:
    """Say that a model has been trained before anything could be logged."""
    if getattr(model, "trainer", None) is not None:
        logger.warning(
            "this model was trained before add_wandb_callback(model) was called, and nothing of that is logged; only "
            "trainings that begin from now on are: call it before model.train()"
        )


def has_trained_since(moment: float) -> bool:
    """Return whether a training of Ultralytics' has begun in this process, or was launched from it, since a moment.

    A trainer that is still there has written the arguments of its training.

    Args:
        moment: Seconds since 1970.
    """
    module = sys.modules.get("ultralytics.engine.trainer")
    if module is None:
        return False
    trainers = [each for each in gc.get_objects() if issubclass(type(each), module.BaseTrainer)]
    files = [Path(str(trainer.save_dir), "args.yaml") for trainer in trainers if hasattr(trainer, "save_dir")]
    try:
        return any(file.exists() and file.stat().st_mtime >= moment for file in files)
    except OSError:  # of a directory that cannot be looked into
        return False


def warn_of_nothing_logged(run_id: str) -> None:
    """Say that the run of a manager has nothing of the training."""
    logger.warning(
        "nothing of a training was logged to run %s: no model with a callback was trained; call "
        "add_wandb_callback(model) before model.train(), for the model that is trained",
        run_id,
    )
