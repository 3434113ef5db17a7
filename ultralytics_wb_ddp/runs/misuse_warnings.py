"""Warn of wrong uses that log nothing or ignore options without error."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.utils.logging import logger
from ultralytics_wb_ddp.wandb_client.run_state import is_closed

if TYPE_CHECKING:
    from collections.abc import Mapping


NEW_RUN_OPTIONS = ("id", "project", "entity", "name", "group", "job_type", "tags", "notes", "mode")  # fixed at creation
CHECKED_CALLBACKS = ("project", "entity")
run_ids_with_callback: set[str] = set()  # ids of runs for which a callback of this process started a training


class GivenOptions:
    """Options of the user that have no effect on an existing run.

    Args:
        values: The options by name.
        where: The function or config that received the options.
        remedy: The remedy, for the message.
    """

    def __init__(self, values: Mapping[str, Any], where: str, remedy: str) -> None:
        self._values = {name: values[name] for name in NEW_RUN_OPTIONS if values.get(name) is not None}
        self._where, self._remedy = where, remedy

    def warn(self, run: Any, *, is_made: bool = True) -> None:
        """Warn once of options that differ from the run.

        Args:
            run: The run that the training logs to. There is no warning for None and for a finished or disabled run.
            is_made: Whether all options of the run are fixed. If not, its project and its entity are.
        """
        if not self._values or run is None or run.disabled or is_closed(run):
            return
        unused = unused_options(self._values, run)
        listed = [f"{name}={value!r}" for name, value in unused.items() if is_made or name in CHECKED_CALLBACKS]
        if listed:
            self._values = {}
            msg = "%s of %s %s no effect: run %s is made already and stays as it is; %s"
            has = "has" if len(listed) == 1 else "have"
            logger.warning(msg, ", ".join(listed), self._where, has, run.id, self._remedy)


def unused_options(options: Mapping[str, Any], run: Any) -> dict[str, Any]:
    """Return the options that differ from the run.

    Args:
        options: The user's options by name.
        run: The ``wandb.Run``.
    """
    mode = "disabled" if run.disabled else "offline" if run.offline else "online"
    run_values = {name: getattr(run, name, None) or None for name in NEW_RUN_OPTIONS if name != "mode"} | {"mode": mode}
    tags = set(run_values["tags"] or ())
    return {
        name: list(value) if name == "tags" else value
        for name, value in options.items()
        if not (set(value) <= tags if name == "tags" else value == run_values[name])
    }


def warn_of_finished_run(run: Any) -> None:
    """Warn that the training reopens a finished run."""
    msg = (
        "run=%s is finished already: the training opens it again and adds its rows to it; leave run= out for a new run"
    )
    logger.warning(msg, run.id)


def warn_of_late_callback(model: Any) -> None:
    """Warn that a model was trained before it had a callback."""
    if getattr(model, "trainer", None) is not None:
        logger.warning(
            "this model was trained before add_wandb_callback(model) was called, and nothing of that is logged; only "
            "trainings that begin from now on are: call it before model.train()"
        )


def has_trained_since(moment: float) -> bool:
    """Return whether an Ultralytics training began here since a moment.

    A training that this process launched counts, too.

    Trainers write ``args.yaml``, so the files of all trainers in memory are checked.

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
    except OSError:  # a directory that cannot be read
        return False


def warn_of_nothing_logged(run_id: str) -> None:
    """Warn that no training was logged to a manager's run.

    Args:
        run_id: Id of the run.
    """
    logger.warning(
        "nothing of a training was logged to run %s: no model with a callback was trained; call "
        "add_wandb_callback(model) before model.train(), for the model that is trained",
        run_id,
    )
