"""Trainings that are one experiment: a run for each fold or repetition, and one with their mean and deviation."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from ultralytics_wb_ddp.config.names import file_name, run_name
from ultralytics_wb_ddp.config.options import WandbConfig
from ultralytics_wb_ddp.config.scope import scope_settings
from ultralytics_wb_ddp.config.validation import ConfigurationError, check_run_id
from ultralytics_wb_ddp.cross_validation.results import Statistics, load_finished_results, select_metrics
from ultralytics_wb_ddp.distributed.topology import Topology, is_main_process
from ultralytics_wb_ddp.runs.links import Links
from ultralytics_wb_ddp.runs.open_runs import is_ours
from ultralytics_wb_ddp.utils.errors import exit_code_of
from ultralytics_wb_ddp.utils.files import write_json
from ultralytics_wb_ddp.utils.logging import format_exception, logger
from ultralytics_wb_ddp.wandb_client.run_state import wandb_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self


SUMMARY_JOB_TYPE = "summary"  # job type of the run that holds the statistics
METRICS = ("metrics/*",)


class Manager(Protocol):
    """Describe what a group needs of the managers of its runs."""

    cfg: Any
    on_finish: Callable[[int], None] | None

    def initialize(self) -> tuple[Any, str | None]:
        """Make the run."""

    def resume_after_training(self) -> Any:
        """Return the run after the training."""

    def finish(self, exit_code: int = 0) -> None:
        """Finish the run."""

    def links(self) -> Links:
        """Return the run's web addresses."""


ManagerType = TypeVar("ManagerType", bound=Manager)


class RunGroup(Generic[ManagerType]):
    """The runs of a cross-validation or of repeated trainings; :meth:`WandbManager.group` makes one.

    It is used in a ``with`` statement. Going through it gives the number of each training that is left to do and the
    manager of its run. At its end a run of job type ``"summary"`` gets the statistics of the metrics and a table with a
    row for each training; after Ctrl-C and ``SystemExit`` it does not. The ids are ``{name}-{job_type}-{number}`` and
    ``{name}-summary``, the runs belong to W&B's group ``name``.

    Args:
        cfg: As for :class:`WandbManager`, without ``cfg.wandb.id``.
        name: Name of the group, which the ids of its runs begin with.
        runs: Number of trainings.
        manager_class: Class of the managers, such as :class:`WandbManager`.
        job_type: What a training is, such as ``"fold"`` or ``"train"``.
        metrics: Names of the metrics, with ``*`` for any characters: of the evaluation of the best checkpoint, or of
            numbers that you put into a run's summary yourself.
        resume: Leave out the trainings that have finished when a group of this name was started earlier.

    Attributes:
        results: Metrics of each training that counts, by its number. A training counts when its run has finished and
            has metrics, in this process or, with ``resume``, earlier.

    Raises:
        ConfigurationError: A setting is wrong or contradicts the group.
    """

    def __init__(
        self,
        cfg: Any,
        name: str,
        runs: int,
        manager_class: Callable[..., ManagerType],
        *,
        job_type: str = "fold",
        metrics: Sequence[str] = METRICS,
        resume: bool = False,
    ) -> None:
        self._manager_class = manager_class
        self.name, self.runs, self.job_type = name, runs, job_type
        self.results: dict[int, dict[str, float]] = {}
        self._cfg, self._resume = cfg, resume
        self._metrics = (metrics,) if isinstance(metrics, str) else tuple(metrics)
        self._config = _check(
            WandbConfig.from_cfg(cfg, scope_settings("name", "group")), name, runs, job_type, resume=resume
        )
        self._states: dict[int, str] = {}
        self._links = Links()
        self._is_entered = False

    @property
    def statistics(self) -> dict[str, Statistics]:
        """The statistics of each metric over the trainings that count, by its name."""
        names = sorted({name for numbers in self.results.values() for name in numbers})
        values = {name: [numbers[name] for numbers in self.results.values() if name in numbers] for name in names}
        return {name: Statistics.of(found) for name, found in values.items()}

    def links(self) -> Links:
        """Return where the group is to be seen; ``run`` is its summary run, once it exists."""
        return self._links

    def __enter__(self) -> Self:
        self._is_entered = True
        if is_main_process():
            active = wandb_run()
            if active is not None and not is_ours(active):
                msg = f"run {active.id!r} is open here, and each training of a group has its own; finish it first"
                raise ConfigurationError(msg)
            self._load_finished()
        return self

    def __iter__(self) -> Iterator[tuple[int, ManagerType]]:
        if not self._is_entered:
            msg = f"group {self.name!r} is used in a with statement, at whose end it writes its summary"
            raise RuntimeError(msg)
        for number in range(self.runs):
            if number not in self.results:
                yield number, self._make_manager(f"{self.job_type}-{number}", self.job_type, number)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_entered = False
        if not is_main_process() or isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit)):
            return
        try:
            self._summarize(exit_code_of(error))
        except Exception as trouble:
            if error is None and self._config.on_error == "raise":
                raise
            logger.warning("group %r has no summary run: %s", self.name, format_exception(trouble))

    def _load_finished(self) -> None:
        """Find out which trainings of an earlier start have finished."""
        earlier = load_finished_results(
            self._config, [self._id(number) for number in range(self.runs)], self._metrics, self._file
        )
        if earlier and not self._resume:
            ids = ", ".join(self._id(number) for number in earlier)
            msg = f"group {self.name!r} has finished runs ({ids}); give resume=True to keep them, or another name"
            raise ConfigurationError(msg)
        if earlier:
            done = ", ".join(map(str, earlier))
            logger.info("group %r: %s %s finished earlier and is not trained again", self.name, self.job_type, done)
        self.results, self._states = earlier, dict.fromkeys(earlier, "finished")

    @property
    def _file(self) -> Path:
        """Where the metrics of finished trainings are kept, for the day when W&B cannot be asked."""
        directory = self._config.dir or os.environ.get("WANDB_DIR") or "."
        return Path(directory, "wandb", file_name(f"group-{self._config.project}-{self.name}", ".json"))

    def _id(self, number: int) -> str:
        return f"{self.name}-{self.job_type}-{number}"

    def _make_manager(self, suffix: str, job_type: str, number: int | None = None) -> ManagerType:
        """Return the manager of one run.

        Args:
            suffix: The end of the run's id.
            job_type: Job type of the run.
            number: Number of the training; None for the summary run.
        """
        name = run_name(self._config.name or self.name, suffix)
        config = replace(self._config, id=f"{self.name}-{suffix}", name=name, group=self.name, job_type=job_type)
        manager = self._manager_class({"wandb": config}, name, self.name)
        manager.cfg = self._cfg
        if number is not None:
            manager.on_finish = partial(self._count, number, manager)
        return manager

    def _count(self, number: int, manager: Manager, exit_code: int) -> None:
        """Take a training into account; trouble with that is a message unless ``on_error="raise"``."""
        try:
            self.add_result(number, manager, exit_code)
        except Exception as error:
            if self._config.on_error == "raise":
                raise
            logger.warning("group %r does not count run %s: %s", self.name, self._id(number), format_exception(error))

    def add_result(self, number: int, manager: Manager, exit_code: int) -> None:
        """Take a training into account whose run is about to be finished; its manager does it.

        Args:
            number: Number of the training.
            manager: The manager of its run.
            exit_code: The exit code that the run gets.
        """
        self._links = replace(manager.links(), run=None)
        self._states[number] = "failed" if exit_code else "finished"
        if exit_code:
            return
        from ultralytics_wb_ddp.wandb_client.run_state import get_summary

        run = manager.resume_after_training()
        if run.disabled:
            return
        numbers = select_metrics(get_summary(run.summary), self._metrics)
        if not numbers:
            msg = "run %s has no metrics such as %s in its summary: group %r does not count it"
            logger.warning(msg, run.id, ", ".join(self._metrics), self.name)
            return
        self.results[number] = numbers
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_json(self._file, {self._id(key): self.results[key] for key in sorted(self.results)})

    def _summarize(self, exit_code: int) -> None:
        """Write the summary run."""
        import wandb

        found = self.statistics
        counted = f"{len(self.results)} of {self.runs} trainings counted"
        shown = [f"{name} {numbers}" for name, numbers in found.items() if name.startswith("metrics/")]
        logger.info("group %r: %s%s", self.name, counted, "".join(f", {text}" for text in shown))
        manager = self._make_manager(SUMMARY_JOB_TYPE, SUMMARY_JOB_TYPE)
        run, _ = manager.initialize()
        try:
            facts = {"name": self.name, "runs": self.runs, "job_type": self.job_type, "metrics": list(self._metrics)}
            run.config.update({"group": facts}, allow_val_change=True)
            columns = [self.job_type, "run", "state", "counted", *found]
            rows = [
                [number, self._id(number), self._states.get(number, "not run"), number in self.results]
                + [self.results.get(number, {}).get(name) for name in found]
                for number in range(self.runs)
            ]
            run.log({"runs": wandb.Table(columns=columns, data=rows, allow_mixed_types=True)})
            run.summary.update({"runs/planned": self.runs, "runs/counted": len(self.results)})
            run.summary.update({name: _without_none(asdict(numbers)) for name, numbers in found.items()})
            self._links = manager.links()
        finally:
            manager.finish(exit_code)


def _check(config: WandbConfig, name: str, runs: int, job_type: str, *, resume: bool) -> WandbConfig:
    """Return the settings of a group if its runs can be made with them."""
    cause = ""
    if isinstance(runs, bool) or not isinstance(runs, int) or runs < 1:
        cause = f"runs={runs!r}: the number of trainings, 1 or more, is expected"
    elif job_type == SUMMARY_JOB_TYPE:
        cause = f"job_type={SUMMARY_JOB_TYPE!r} is that of the run with the statistics; choose another one"
    elif config.id:
        cause = f"cfg.wandb.id={config.id!r} cannot be the id of all runs of group {name!r}; leave it out"
    elif config.group and config.group != name:
        cause = f"cfg.wandb.group={config.group!r}, but the group is called {name!r}; leave one out"
    elif resume and (topology := Topology.from_env()) and topology.world_size > 1:
        cause = (
            f"resume=True in {topology.world_size} processes: one of them asks W&B what is left to do, and the others "
            "do not know it; start the script in one process and train on several GPUs with device=[0, 1]"
        )
    if cause:
        raise ConfigurationError(cause)
    for end in (f"{job_type}-{runs - 1}", SUMMARY_JOB_TYPE):
        check_run_id(f"{name}-{end}", "id in the group")
    return config


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
