"""Group the runs of a cross-validation and log their statistics."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from ultralytics_wb_ddp.config.names import file_name, run_name
from ultralytics_wb_ddp.config.options import WandbConfig
from ultralytics_wb_ddp.config.scope import scope_settings
from ultralytics_wb_ddp.config.types import RunId
from ultralytics_wb_ddp.config.validation import ConfigurationError, validate
from ultralytics_wb_ddp.cross_validation.results import Statistics, load_finished_results, select_metrics
from ultralytics_wb_ddp.distributed.topology import Topology, is_main_process
from ultralytics_wb_ddp.runs.links import Links
from ultralytics_wb_ddp.runs.open_runs import is_ours
from ultralytics_wb_ddp.utils.errors import exit_code_of
from ultralytics_wb_ddp.utils.files import write_json
from ultralytics_wb_ddp.utils.logging import format_exception, logger, pluralize
from ultralytics_wb_ddp.wandb_client.run_state import wandb_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self


SUMMARY_JOB_TYPE = "summary"  # job type of the run that holds the statistics
METRICS = ("metrics/*",)


class Manager(Protocol):
    """Interface of the managers of a group's runs."""

    cfg: Any
    on_finish: Callable[[int], None] | None

    def initialize(self) -> tuple[Any, str | None]:
        """Open the run."""

    def resume_after_training(self) -> Any:
        """Open the run again after the training, and return the run."""

    def finish(self, exit_code: int = 0) -> None:
        """Finish the run."""

    def links(self) -> Links:
        """Return the run's web addresses."""


ManagerType = TypeVar("ManagerType", bound=Manager)


class RunGroup(Generic[ManagerType]):
    """The runs of a cross-validation or of repeated trainings.

    :meth:`WandbManager.group` creates a group. A group is a context manager and an iterator. The iteration gives the
    number and the manager of each training that is still to be run. At the end of the ``with`` statement, a run of job
    type ``"summary"`` gets the statistics of the metrics and a table with a row for each training. After Ctrl-C and
    ``SystemExit`` there is no summary run. The ids of the runs are ``{name}-{job_type}-{number}`` and
    ``{name}-summary``. All runs are in W&B's group ``name``.

    Args:
        cfg: As for :class:`WandbManager`, without ``cfg.wandb.id``.
        name: Name of the group. The ids of its runs begin with this name.
        runs: Number of trainings.
        manager_class: Class of the managers, such as :class:`WandbManager`.
        job_type: Job type of the trainings, such as ``"fold"`` or ``"train"``.
        metrics: Names of the metrics, with ``*`` for any characters: metrics of the best checkpoint's evaluation, or
            other numbers in the summary of a run.
        resume: Skip the trainings that a previous start of this group has finished.

    Attributes:
        results: Metrics of each counted training, by number. A training is counted if its run has finished and has
            metrics, in this process or, with ``resume``, in a previous one.

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
        """The statistics of each metric over the counted trainings, by name."""
        names = sorted({name for numbers in self.results.values() for name in numbers})
        values = {name: [numbers[name] for numbers in self.results.values() if name in numbers] for name in names}
        return {name: Statistics.of(metric_values) for name, metric_values in values.items()}

    def links(self) -> Links:
        """Return the group's web addresses; ``run`` is the summary run, if it exists."""
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
        previous = load_finished_results(
            self._config, [self._id(number) for number in range(self.runs)], self._metrics, self._file
        )
        if previous and not self._resume:
            ids = ", ".join(self._id(number) for number in previous)
            msg = f"group {self.name!r} has finished runs ({ids}); give resume=True to keep them, or another name"
            raise ConfigurationError(msg)
        if previous:
            numbers = ", ".join(map(str, previous))
            logger.info("group %r: %s %s finished earlier and is not trained again", self.name, self.job_type, numbers)
        self.results, self._states = previous, dict.fromkeys(previous, "finished")

    @property
    def _file(self) -> Path:
        """The local file with the metrics, for times without W&B."""
        directory = self._config.dir or os.environ.get("WANDB_DIR") or "."
        return Path(directory, "wandb", file_name(f"group-{self._config.project}-{self.name}", ".json"))

    def _id(self, number: int) -> str:
        return f"{self.name}-{self.job_type}-{number}"

    def _make_manager(self, suffix: str, job_type: str, number: int | None = None) -> ManagerType:
        """Return the manager of one run. The summary run has no number."""
        name = run_name(self._config.name or self.name, suffix)
        config = replace(self._config, id=f"{self.name}-{suffix}", name=name, group=self.name, job_type=job_type)
        manager = self._manager_class({"wandb": config}, name, self.name)
        manager.cfg = self._cfg
        if number is not None:
            manager.on_finish = partial(self._count, number, manager)
        return manager

    def _count(self, number: int, manager: Manager, exit_code: int) -> None:
        """Add a training's result. Log an error as a warning unless ``on_error="raise"``."""
        try:
            self.add_result(number, manager, exit_code)
        except Exception as error:
            if self._config.on_error == "raise":
                raise
            logger.warning("group %r does not count run %s: %s", self.name, self._id(number), format_exception(error))

    def add_result(self, number: int, manager: Manager, exit_code: int) -> None:
        """Add the result of a training before its manager finishes the run.

        Args:
            number: Number of the training.
            manager: The manager of the training's run.
            exit_code: Exit code of the run. A training with an exit code other than 0 is not counted.
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
        import wandb

        statistics = self.statistics
        progress = f"{pluralize(f'{len(self.results)} of {self.runs}', 'training')} counted"
        metric_texts = [f"{name} {numbers}" for name, numbers in statistics.items() if name.startswith("metrics/")]
        logger.info("group %r: %s%s", self.name, progress, "".join(f", {text}" for text in metric_texts))
        manager = self._make_manager(SUMMARY_JOB_TYPE, SUMMARY_JOB_TYPE)
        run, _ = manager.initialize()
        try:
            group_config = {
                "name": self.name,
                "runs": self.runs,
                "job_type": self.job_type,
                "metrics": list(self._metrics),
            }
            run.config.update({"group": group_config}, allow_val_change=True)
            columns = [self.job_type, "run", "state", "counted", *statistics]
            rows = [
                [number, self._id(number), self._states.get(number, "not run"), number in self.results]
                + [self.results.get(number, {}).get(name) for name in statistics]
                for number in range(self.runs)
            ]
            run.log({"runs": wandb.Table(columns=columns, data=rows, allow_mixed_types=True)})
            run.summary.update({"runs/planned": self.runs, "runs/counted": len(self.results)})
            run.summary.update({name: _without_none(asdict(numbers)) for name, numbers in statistics.items()})
            self._links = manager.links()
        finally:
            manager.finish(exit_code)


def _check(config: WandbConfig, name: str, runs: int, job_type: str, *, resume: bool) -> WandbConfig:
    """Return the settings of a group.

    Raises:
        ConfigurationError: A setting is wrong or contradicts the group.
    """
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
        validate(RunId, f"{name}-{end}", "id in the group")
    return config


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
