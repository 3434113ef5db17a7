"""Log a tuning of Ultralytics' ``Tuner``: a run for each iteration, and one with the results of all.

The tuner trains each iteration in a process of the ``yolo`` command, which autolog reaches by the environment.
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
    from collections.abc import Iterator, Mapping

    from ultralytics_wb_ddp.runs.guarded_run import GuardedRun


TUNE_JOB_TYPE = "tune"
# Variables that name one run, which the iterations must not continue.
OF_ONE_RUN = ("WANDB_RUN_ID", "WANDB_NAME", "WANDB_SERVICE", HANDOFF_VARIABLE, *trial_env.VARIABLES)


@dataclass(frozen=True)
class Iteration:
    """The result of one iteration, as the tuner has written it.

    Attributes:
        number: Number of the iteration, counted from 1.
        fitness: Its fitness; 0 if its training failed.
        hyperparameters: Its hyperparameters by name.
    """

    number: int
    fitness: float
    hyperparameters: dict[str, float]


@dataclass
class TuningLogger:
    """Logger of one tuning.

    Attributes:
        results: The tuner's file with a line for each iteration.
        name: Name of the tuning. Those of its iterations begin with it.
        options: Options of the iterations' runs by name, without their names.
        run: The run with the results of all iterations. None if it could not be opened.
        logged: Number of iterations whose results are logged.
    """

    results: Path
    name: str
    options: Mapping[str, Any]
    run: GuardedRun | None
    logged: int = field(default=0)

    @classmethod
    def open(cls, tuner: Any, options: Mapping[str, Any]) -> TuningLogger:
        """Open the run with the results, and return the logger of a tuning that begins now.

        Args:
            tuner: Ultralytics' ``Tuner``.
            options: The user's options by name.
        """
        directory = Path(tuner.tune_dir)
        default = stock_run_options(tuner.args.project, directory.name, directory)
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
            Path(getattr(tuner, "tune_file", None) or tuner.tune_csv),  # NDJSON, before 8.4.60 CSV
            of_summary.name or default["name"],
            merge({"group": group, **place}, options, {"job_type": TUNE_JOB_TYPE}),
            run,
        )
        if run:
            tuning_logger._start(run, tuner, directory, earlier)
        return tuning_logger

    def _start(self, run: GuardedRun, tuner: Any, directory: Path, earlier: RunRecord | None) -> None:
        on_termination(preempt_runs)
        run.start(directory, earlier)
        with run.guard("the tuning's arguments"):
            self.logged = len(read_iterations(self.results)) if run.is_resumed else 0
            for metric in ("fitness", "hyperparameters/*"):
                run.wandb_run.define_metric(metric, step_metric="iteration")
            tuning = {"space": to_plain(tuner.space), "directory": str(directory)}
            run.update_config({**to_plain(vars(tuner.args)), "tuning": tuning})

    def child_variables(self) -> dict[str, str]:
        """Return the variables with which the next iteration is logged."""
        number = len(read_iterations(self.results)) + 1
        return autolog_variables({**self.options, "name": run_name(self.name, str(number))})

    def log_iterations(self) -> list[Iteration]:
        """Log the iterations that have ended since the last call, and return all of them."""
        iterations, run = read_iterations(self.results), self.run
        if run:
            for iteration in iterations[self.logged :]:
                run.log_in_background(partial(_row, iteration), f"iteration {iteration.number}")
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
            self.run.log_in_background(lambda: {"iterations": self._table(iterations)}, "the table of the iterations")
            self.run.update_summary(
                {
                    "best/iteration": best.number,
                    "best/fitness": best.fitness,
                    "best/hyperparameters": best.hyperparameters,
                }
            )
        self.run.close(exit_code)

    def _table(self, iterations: list[Iteration]) -> Any:
        import wandb

        names = list(iterations[0].hyperparameters)
        rows = [
            [each.number, run_name(self.name, str(each.number)), each.fitness]
            + [each.hyperparameters.get(name) for name in names]
            for each in iterations
        ]
        return wandb.Table(columns=["iteration", "run", "fitness", *names], data=rows)


@contextmanager
def log_tuning(tuner: Any, options: Mapping[str, Any]) -> Iterator[None]:
    """Log a tuning that takes place in a ``with`` block.

    Args:
        tuner: Ultralytics' ``Tuner``.
        options: Options of autolog by name.
    """
    tuning_logger, exit_code = TuningLogger.open(tuner, options), 0
    mutate = tuner._mutate  # noqa: SLF001  # the first call of each iteration in every release

    def log_and_mutate(*args: Any, **kwargs: Any) -> Any:
        tuning_logger.log_iterations()
        os.environ.update(tuning_logger.child_variables())
        return mutate(*args, **kwargs)

    variables = {**dict.fromkeys(OF_ONE_RUN), **tuning_logger.child_variables()}
    with environment(variables), patched_attribute(tuner, "_mutate", log_and_mutate):
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
    return [Iteration(number, fitness, values) for number, (fitness, values) in enumerate(found, start=1)]


def _row(iteration: Iteration) -> dict[str, float]:
    hyperparameters = {f"hyperparameters/{name}": value for name, value in iteration.hyperparameters.items()}
    return {"iteration": iteration.number, "fitness": iteration.fitness, **hyperparameters}
