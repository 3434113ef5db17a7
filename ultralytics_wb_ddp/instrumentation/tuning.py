"""Log a tuning: a run for each iteration, and one with the results of all.

Ultralytics' ``Tuner`` trains each iteration in a process of the ``yolo`` command, which autolog reaches by the
environment. A tuning with Ray is in ``ray_tuning.py``.
"""

from __future__ import annotations

import csv
import json
import os
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config.names import run_name
from ultralytics_wb_ddp.config.options import RunOptions, merge
from ultralytics_wb_ddp.config.types import group_of_environment
from ultralytics_wb_ddp.cross_validation.run_group import SUMMARY_JOB_TYPE
from ultralytics_wb_ddp.distributed.signals import on_termination
from ultralytics_wb_ddp.distributed.trainer_mixin import patched_attribute
from ultralytics_wb_ddp.instrumentation.environment import autolog_variables
from ultralytics_wb_ddp.runs import trial_env
from ultralytics_wb_ddp.runs.handoff import HANDOFF_VARIABLE
from ultralytics_wb_ddp.runs.preemption import preempt_runs
from ultralytics_wb_ddp.runs.resolution import open_run, resolve_training_run
from ultralytics_wb_ddp.runs.run_defaults import stock_run_options
from ultralytics_wb_ddp.runs.run_record import RunRecord
from ultralytics_wb_ddp.utils.environment import environment
from ultralytics_wb_ddp.utils.errors import exit_code_of
from ultralytics_wb_ddp.utils.serialization import to_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ultralytics_wb_ddp.runs.guarded_run import GuardedRun


TUNE_JOB_TYPE = "tune"
# Variables that name one run, which the iterations must not continue.
OF_ONE_RUN = ("WANDB_RUN_ID", "WANDB_NAME", "WANDB_SERVICE", HANDOFF_VARIABLE, *trial_env.VARIABLES)


@dataclass(frozen=True)
class Iteration:
    """The result of one iteration, as the tuner has written it.

    Attributes:
        label: End of its run's name: the number of the iteration, counted from 1.
        fitness: Its fitness; 0 if its training failed.
        hyperparameters: Its hyperparameters by name.
    """

    label: str
    fitness: float
    hyperparameters: dict[str, Any]


@dataclass
class TuningLogger:
    """Logger of one tuning.

    Attributes:
        read: Function that returns the results of the iterations that have ended, in the order of their ends.
        name: Name of the tuning. Those of its iterations begin with it.
        options: Options of the iterations' runs by name, without their names.
        run: The run with the results of all iterations. None if it could not be opened.
        logged: Number of iterations whose results are logged.
    """

    read: Callable[[], list[Iteration]]
    name: str
    options: Mapping[str, Any]
    run: GuardedRun | None
    logged: int = field(default=0)

    @classmethod
    def open(
        cls,
        directory: Path,
        arguments: Mapping[str, Any],
        space: Any,
        read: Callable[[], list[Iteration]],
        options: Mapping[str, Any],
    ) -> TuningLogger:
        """Open the run with the results, and return the logger of a tuning that begins now.

        Args:
            directory: Directory of the tuning.
            arguments: Arguments of its trainings by name.
            space: The space in which hyperparameters are searched.
            read: Function that returns the results of the iterations that have ended, in the order of their ends.
            options: The user's options by name.
        """
        default = stock_run_options(arguments.get("project"), directory.name, directory)
        earlier = RunRecord.find(directory, None)  # of a tuning that is resumed
        of_ranks = {
            "run_mode": None,
            "rank_scope": None,
        }  # the tuner has no ranks; those of its trainings log to others
        of_summary = RunOptions(**{**options, **of_ranks, "job_type": SUMMARY_JOB_TYPE})
        resolution, active_run = resolve_training_run(None, None, of_summary, default, earlier)
        group = of_summary.group or os.environ.get("WANDB_RUN_GROUP") or group_of_environment() or resolution.base_id
        run = open_run(replace(resolution, options=replace(resolution.options, group=group)), active_run)
        # The tuner deletes the directories of all trainings but the best one.
        place = {"project": resolution.options.project, "entity": resolution.options.entity, "dir": default["dir"]}
        tuning_logger = cls(
            read,
            of_summary.name or default["name"],
            merge({"group": group, **place}, options, {"job_type": TUNE_JOB_TYPE}),
            run,
        )
        if run:
            tuning = {"space": to_plain(space), "directory": str(directory)}
            tuning_logger._start(run, directory, earlier, {**to_plain(dict(arguments)), "tuning": tuning})
        return tuning_logger

    def _start(self, run: GuardedRun, directory: Path, earlier: RunRecord | None, config: Mapping[str, Any]) -> None:
        on_termination(preempt_runs)
        run.start(directory, earlier)
        with run.guard("the tuning's arguments"):
            self.logged = len(self.read()) if run.is_resumed else 0
            for metric in ("fitness", "hyperparameters/*"):
                run.wandb_run.define_metric(metric, step_metric="iteration")
            run.update_config(dict(config))

    def options_of(self, label: str) -> dict[str, Any]:
        """Return the options of the run of one iteration by name.

        Args:
            label: End of the run's name.
        """
        return {**self.options, "name": run_name(self.name, label)}

    def log_iterations(self) -> list[Iteration]:
        """Log the iterations that have ended since the last call, and return all of them."""
        iterations, run = self.read(), self.run
        if run:
            for number, iteration in enumerate(iterations[self.logged :], start=self.logged + 1):
                run.log_in_background(partial(_row, number, iteration), f"iteration {number}")
        self.logged = len(iterations)
        return iterations

    def close(self, exit_code: int) -> None:
        """Log the best hyperparameters and a table of the iterations, and close the run.

        Args:
            exit_code: Exit code of the tuning.
        """
        if self.run is None:
            return
        iterations = self.log_iterations()
        if iterations:
            best = max(iterations, key=lambda iteration: iteration.fitness)
            number = iterations.index(best) + 1
            self.run.log_in_background(lambda: {"iterations": self._table(iterations)}, "the table of the iterations")
            self.run.update_summary(
                {
                    "best/iteration": number,
                    "best/fitness": best.fitness,
                    "best/hyperparameters": best.hyperparameters,
                }
            )
        self.run.close(exit_code)

    def _table(self, iterations: list[Iteration]) -> Any:
        import wandb

        names = list(iterations[0].hyperparameters)
        rows = [
            [number, run_name(self.name, each.label), each.fitness, *(each.hyperparameters.get(name) for name in names)]
            for number, each in enumerate(iterations, start=1)
        ]
        return wandb.Table(columns=["iteration", "run", "fitness", *names], data=rows)


@contextmanager
def log_tuning(tuner: Any, options: Mapping[str, Any]) -> Iterator[None]:
    """Log a tuning that takes place in a ``with`` block.

    Args:
        tuner: Ultralytics' ``Tuner``.
        options: Options of autolog by name.
    """
    results = Path(getattr(tuner, "tune_file", None) or tuner.tune_csv)  # NDJSON, before 8.4.60 CSV
    read = partial(read_iterations, results)
    tuning_logger = TuningLogger.open(Path(tuner.tune_dir), vars(tuner.args), tuner.space, read, options)
    mutate = tuner._mutate  # noqa: SLF001  # the first call of each iteration in every release

    def variables_of_next() -> dict[str, str]:
        return autolog_variables(tuning_logger.options_of(str(len(read()) + 1)))

    def log_and_mutate(*args: Any, **kwargs: Any) -> Any:
        tuning_logger.log_iterations()
        os.environ.update(variables_of_next())
        return mutate(*args, **kwargs)

    variables = {**dict.fromkeys(OF_ONE_RUN), **variables_of_next()}
    with (
        environment(variables),
        patched_attribute(tuner, "_mutate", log_and_mutate),
        closing_with_exit_code(tuning_logger),
    ):
        yield


@contextmanager
def closing_with_exit_code(tuning_logger: TuningLogger) -> Iterator[None]:
    """Close the run of a tuning at the end of a ``with`` block, with the exit code of that end."""
    exit_code = 0
    try:
        yield
    except BaseException as error:
        exit_code = exit_code_of(error)
        raise
    finally:
        tuning_logger.close(exit_code)


def read_iterations(results: Path) -> list[Iteration]:
    """Return the iterations in the tuner's file of results, CSV or NDJSON."""
    if not results.exists():
        return []
    lines = results.read_text(encoding="utf-8").splitlines()
    if results.suffix == ".csv":
        values = [{name.strip(): float(value) for name, value in row.items()} for row in csv.DictReader(lines)]
        found = [(row.pop("fitness"), row) for row in values]
    else:
        records = [json.loads(line) for line in lines if line.strip()]
        found = [(record["fitness"] or 0.0, record["hyperparameters"]) for record in records]
    return [Iteration(str(number), fitness, values) for number, (fitness, values) in enumerate(found, start=1)]


def _row(number: int, iteration: Iteration) -> dict[str, Any]:
    hyperparameters = {f"hyperparameters/{name}": value for name, value in iteration.hyperparameters.items()}
    return {"iteration": number, "fitness": iteration.fitness, **hyperparameters}
