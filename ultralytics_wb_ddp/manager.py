"""The launcher's half of a run's life: what comes before and after the training."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.after_training import AfterTraining
from ultralytics_wb_ddp.before_training import BeforeTraining
from ultralytics_wb_ddp.checks import ConfigurationError, check_text, refuse_type
from ultralytics_wb_ddp.config import RunOptions, WandbConfig
from ultralytics_wb_ddp.context import blocks, release, settings_around, take_up
from ultralytics_wb_ddp.decision import exit_code_of, which_ranks
from ultralytics_wb_ddp.handoff import VARIABLE, Handoff, set_or_unset
from ultralytics_wb_ddp.launch import on_termination
from ultralytics_wb_ddp.links import Links
from ultralytics_wb_ddp.log import cause_of, logger
from ultralytics_wb_ddp.ranks import Topology, is_main_process, plan_rank
from ultralytics_wb_ddp.runs import open_handoff

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self, Unpack

    from ultralytics_wb_ddp.arguments import GroupArguments
    from ultralytics_wb_ddp.groups import RunGroup

__all__ = ["WandbManager"]

JOB_TYPE = "training"  # of a run that a manager makes, unless the user says otherwise
LABEL = "launcher"  # of this process among the writers of a shared run, where it is none of the ranks
EXPORTED = (
    "WANDB_RUN_ID",
    "WANDB_PROJECT",
    "WANDB_ENTITY",
    "WANDB_RUN_GROUP",
    "WANDB_API_KEY",
    "EXPERIMENT_GROUP_NAME",
    VARIABLE,
)

OF_RUN = (  # what people look for at the manager
    *("log", "summary", "name", "id", "url", "tags", "notes", "log_artifact", "use_artifact", "define_metric"),
    *("alert", "watch", "save", "log_code", "dir", "project", "entity", "mark_preempting"),
)
OF_THE_RUN = ("WANDB_ENTITY", "WANDB_RUN_GROUP", "EXPERIMENT_GROUP_NAME")  # exported for one run, not for others

_held: set[str] = set()  # ids of the runs that managers of this process hold
_exporting: list[WandbManager] = []  # the managers of this process that have changed the environment, the latest last


class WandbManager(BeforeTraining, AfterTraining):
    """Holds the run of a training job: makes it, hands it to the workers, takes it back, finishes it.

    On a rank that is not the main process every method is a quiet no-op, so that one script serves every launch.

    Args:
        cfg: The job's config as an OmegaConf config, mapping, dataclass or namespace. ``cfg.wandb`` is read, see
            :class:`WandbConfig`; ``cfg.wandb.project`` is required, there or from :func:`wandb_config`. A run that is
            made gets the job type ``"training"``, unless ``cfg.wandb.job_type``, :func:`wandb_config` or
            ``WANDB_JOB_TYPE`` says otherwise; one that is continued keeps its own.
        job_name: Name of the job; the run gets it unless ``cfg.wandb.name`` says otherwise. By default it is
            ``cfg.wandb.name``.
        experiment_group_name: Group of the run. By default it is ``cfg.wandb.group``, then that of
            :func:`wandb_config`, then ``EXPERIMENT_GROUP_NAME`` in the environment.

    Attributes:
        cfg: The config as it was given.
        job_name: The name as it was given, or else ``cfg.wandb.name``.
        experiment_group_name: The group's name as it was given.
        run: The ``wandb.Run`` while it is open in this process, else None.
        wandb_url: Web address of the run; None offline and before :meth:`initialize`.

    Raises:
        ConfigurationError: ``cfg.wandb.project`` or both names are missing, a setting is unknown or wrong, or a name is
            no string.
    """

    is_jobs = False  # whether what follows the training is a job's, which says when it has come to its end

    def __init__(self, cfg: Any, job_name: str | None = None, experiment_group_name: str | None = None) -> None:
        for place, value in (("job_name", job_name), ("experiment_group_name", experiment_group_name)):
            if not isinstance(value, (str, type(None))):
                refuse_type(place, value)
            if value:
                check_text(place, value)
        self._blocks = blocks()
        self.config = WandbConfig.from_cfg(cfg, settings_around(*(("name",) if job_name else ())))
        if not (job_name or self.config.name):
            msg = "job_name is missing; give WandbManager(cfg, job_name=...), or name the run in cfg.wandb.name"
            raise ConfigurationError(msg)
        self.cfg = cfg
        self.job_name = job_name or self.config.name
        self.experiment_group_name = experiment_group_name
        self._options = self.config.or_else(RunOptions(name=job_name))
        if experiment_group_name:
            self._options = replace(self._options, group=experiment_group_name)
        self.run: Any = None
        self.wandb_url: str | None = None
        self._adopted = False
        self._handoff: Handoff | None = None
        self._last: Handoff | None = None
        self._environment: dict[str, str | None] = {}
        self._own_group: str | None = None  # that the run really has
        self._exported: dict[str, str | None] = {}  # what this manager has written to the environment

    if not TYPE_CHECKING:  # a misspelt name stays an error of the type checker

        def __getattr__(self, name: str) -> Any:
            remedy = f"; the run has it: manager.run.{name}" if name in OF_RUN else ""
            msg = f"{type(self).__name__!r} object has no attribute {name!r}{remedy}"
            raise AttributeError(msg)

    def __enter__(self) -> Self:
        self.initialize()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.finish(exit_code_of(error))

    @classmethod
    def group(cls, cfg: Any, name: str, runs: int, **options: Unpack[GroupArguments]) -> RunGroup:
        """Return the runs of a cross-validation or of repeated trainings, with a summary run.

        ``with WandbManager.group(cfg, "5-fold", runs=5) as group:``, and in it ``for number, manager in group:``.

        Args:
            cfg: As for the manager, without ``cfg.wandb.id``.
            name: Name of the group.
            runs: Number of trainings.
            **options: ``job_type``, ``metrics`` and ``resume`` of :class:`RunGroup`.

        Raises:
            ConfigurationError: A setting is wrong or contradicts the group.
        """
        from ultralytics_wb_ddp.groups import RunGroup

        return RunGroup(cfg, name, runs, **options)

    def initialize(self) -> tuple[Any, str | None]:
        """Make the run, or continue the one of ``cfg.wandb.id`` or ``WANDB_RUN_ID``, and export the handoff.

        A run that the script has made itself and that is active is adopted, and one that a manager holds open in the
        process that started this one is attached to: they are logged to and never finished here.

        Returns:
            The ``wandb.Run`` and its web address; ``(None, None)`` on a rank that is not the main process.

        Raises:
            ConfigurationError: ``WANDB_RUN_ID`` or ``ULTRALYTICS_WB_DDP`` in the environment is damaged.
            wandb.errors.Error: W&B refuses: no API key, for example.
        """
        if not is_main_process() or self._handoff:
            return self.run, self.wandb_url
        from ultralytics_wb_ddp.session import preempt

        which_ranks(self._options, None, os.environ)
        inherited = Handoff.from_env()
        if inherited and inherited.run_id in _held:
            inherited = None  # another manager of this process has exported it for its own training
        self._environment = {name: os.environ.get(name) for name in EXPORTED}
        for name in OF_THE_RUN:
            set_or_unset(name, _word_of_user(name))
        self._options = self._options.or_else(RunOptions(group=os.environ.get("EXPERIMENT_GROUP_NAME") or None))
        if self.config.api_key:
            os.environ["WANDB_API_KEY"] = self.config.api_key
        try:
            self._open(inherited)
        except BaseException:
            self._restore_environment()
            raise
        self._expects_since, self._has_failed = time.time(), False
        self._export(open_handoff(self.run))
        _held.add(self.run.id)
        take_up(self.run.id, self._blocks)
        on_termination(preempt)
        return self.run, self.wandb_url

    def prepare_for_training(self) -> None:
        """Hand the run to the workers.

        It is closed, so that a worker on any host resumes it; with ``cfg.wandb.keep_open``, offline, and where it was
        adopted it stays open instead, and the workers attach to it.
        """
        if self._needs_run() and self.run is not None:
            self._is_training_due = True
            is_open = self._adopted or self.config.keep_open or self.run.offline or self.run.disabled
            handoff = open_handoff(self.run) if is_open else Handoff.of_run(self.run, is_open=False)
            if not is_open:
                from ultralytics_wb_ddp.session import finish_run

                handoff.forget_word()
                finish_run(self.run, 0)
                self.run = None
                handoff = replace(handoff, closed_at=time.time())
            self._export(handoff)

    def resume_after_training(self) -> Any:
        """Take the run back after the training.

        Returns:
            The ``wandb.Run``; None on a rank that is not the main process.
        """
        before = self._handoff
        if self._needs_run() and self.run is None:
            handoff, _ = self._after_training(exit_code=1)
            self._reopen(handoff)
            self._export(open_handoff(self.run))
        elif self.run is not None and self._handoff and self._handoff.is_shared:
            self.run.config.update(self._handoff.config_left(), allow_val_change=True)
        if before and self.run is not None:
            self._look_for_training(before)
        return self.run

    resume_run = resume_after_training

    def finish(self, exit_code: int = 0) -> None:
        """Finish the run and put the environment back as it was before :meth:`initialize`; harmless when repeated.

        Args:
            exit_code: 0 marks the run as finished, anything else as failed.
        """
        if not is_main_process() or self._handoff is None:
            return
        from ultralytics_wb_ddp.session import finish_run
        from ultralytics_wb_ddp.training import close_sessions_of

        self._has_failed = bool(exit_code)
        try:
            if self.run is None and exit_code:  # the training failed while the run was closed
                handoff, worker_code = self._after_training(exit_code)
                if not worker_code:  # nobody has recorded the failure
                    self._reopen(handoff)
            if self.run is not None and not self._adopted:
                self.resume_after_training()
                close_sessions_of(self.run.id, exit_code)
                finish_run(self.run, exit_code)
        except Exception as error:
            if self.config.on_error == "raise":
                raise
            logger.warning(
                "run %s could not be finished with exit code %d: %s", self._handoff.run_id, exit_code, cause_of(error)
            )
        finally:
            _held.discard(self._handoff.run_id)
            release(self._handoff.run_id)
            self.run = self._handoff = None
            self._restore_environment()

    def _open(self, inherited: Handoff | None) -> None:
        """Make, continue, adopt or attach to the run."""
        from ultralytics_wb_ddp.runs import opened_by_us, run_url, wandb_run
        from ultralytics_wb_ddp.session import attach, init_run, resume_run

        active = wandb_run()
        if active is not None and not opened_by_us(active):
            self._adopted, self.run = True, active
        elif inherited and inherited.state == "open" and not self.config.id:  # the process that started this one has it
            self._adopted, self.run = True, attach(inherited)
        else:
            how = {"settings": _console_settings(), "writer": self._writer()}
            if inherited and not self.config.id:
                self.run = resume_run(self._options, inherited, "allow", **how)
            elif self.config.id:
                self.run = init_run(self._options, run_id=self.config.id, resume="allow", **how)
            else:
                self.run = init_run(self._options.or_else(self._usual()), run_id=None, resume=None, **how)
            self._name_job_type(inherited)
        self.wandb_url = run_url(self.run)
        self._own_group = self.run.group or None
        if self._adopted:
            self._tell_settings_without_effect()
        self._links = Links.of_launcher(self.run, *which_ranks(self._options, None, os.environ))

    def _usual(self) -> RunOptions:
        """Return how a run is made where the user says nothing of it."""
        return RunOptions(job_type=None if os.environ.get("WANDB_JOB_TYPE") else JOB_TYPE)

    def _name_job_type(self, inherited: Handoff | None) -> None:
        """Give a run a job type that was opened by its id and turns out to be new; one that goes on keeps its own."""
        from ultralytics_wb_ddp.client import set_job_type
        from ultralytics_wb_ddp.runs import may_go_on

        job_type = self._options.or_else(self._usual()).job_type
        is_known = inherited is not None and inherited.is_of_known_run
        is_new = not is_known and not may_go_on(self.run, self._options.mode)
        if job_type and is_new and not self.run.disabled and not self.run.job_type:
            set_job_type(self.run, job_type)

    def _after_training(self, exit_code: int) -> tuple[Handoff, int | None]:
        """Return the handoff as the training has left it, and the exit code of its session, if there was one.

        Args:
            exit_code: Exit code for a session that a training has left open in this process.
        """
        from ultralytics_wb_ddp.training import close_sessions_of

        assert self._handoff is not None  # noqa: S101  # the callers have checked it
        close_sessions_of(self._handoff.run_id, exit_code)
        return self._handoff.after_training(self.config.finish_timeout)

    def _reopen(self, handoff: Handoff) -> None:
        """Open the run again that a worker has continued."""
        from ultralytics_wb_ddp.session import define_metrics, resume_run

        named = RunOptions(project=handoff.project, entity=handoff.entity, mode=handoff.mode)
        unnamed = replace(  # the run has its name, group and tags already
            self.config,
            project=None,
            entity=None,
            mode=None,
            name=None,
            group=None,
            job_type=None,
            tags=None,
            notes=None,
        )
        options = unnamed.or_else(named)
        resume, writer = ("allow", self._writer()) if handoff.is_shared else ("must", None)
        self.run = resume_run(options, handoff, resume, settings=_console_settings(), writer=writer)
        if self.run.offline:  # what was sent before is still to be seen
            self._links = replace(self._links, sync_command=Links.of_run(self.run).sync_command)
        define_metrics(self.run)

    def _writer(self) -> Any:
        """Return how this process shares the run, where every rank is to write to it; None otherwise."""
        from ultralytics_wb_ddp.session import Writer

        run_mode, rank_scope = which_ranks(self._options, None, os.environ)
        if run_mode != "shared":
            return None
        plan = plan_rank(Topology.from_env(), run_mode, rank_scope, "")
        label = (plan and plan.label) or LABEL
        return Writer(label, primary=True, ends_run=True, measures=True)

    def _export(self, handoff: Handoff) -> None:
        """Write the handoff to the environment."""
        self._handoff = self._last = handoff = replace(
            handoff, options=self._options.of_training(), is_jobs=self.is_jobs
        )
        self._exported = {
            **handoff.to_env(),
            "WANDB_RUN_GROUP": self._own_group,
            "EXPERIMENT_GROUP_NAME": self._own_group,
        }
        for name, value in self._exported.items():
            set_or_unset(name, value)
        if self not in _exporting:
            _exporting.append(self)

    def _restore_environment(self) -> None:
        """Put back what :meth:`initialize` found."""
        if self in _exporting:
            _exporting.remove(self)
        for name, value in self._environment.items():
            set_or_unset(name, value)
        self._environment = {}

    def _needs_run(self) -> bool:
        """Return whether this rank acts at all.

        Raises:
            RuntimeError: It does, but there is no run.
        """
        if not is_main_process():
            return False
        if self._handoff is None:
            msg = f"job {self.job_name!r} has no run; call initialize() first, or use the manager in a with statement"
            raise RuntimeError(msg)
        return True

    def _needs_open_run(self, method: str) -> bool:
        """Return whether this rank acts at all.

        Raises:
            RuntimeError: It does, but the run is not open here.
        """
        acts = self._needs_run()
        if acts and self.run is None:
            msg = f"{method}() needs the run of job {self.job_name!r}, which is closed; call resume_after_training()"
            raise RuntimeError(msg)
        return acts


def _word_of_user(name: str) -> str | None:
    """Return a variable of the environment without what managers of this process have exported for their runs."""
    value = os.environ.get(name)
    for manager in reversed(_exporting):
        if value == manager._exported.get(name):  # noqa: SLF001  # of the same class
            value = manager._environment.get(name)  # noqa: SLF001
    return value


def _console_settings() -> dict[str, str]:
    """Return the settings by which the run's log holds what the workers print, too.

    They write to the file descriptors that they inherit; the capture that wandb chooses by itself sees only what this
    process prints. In a notebook there is nothing to see on the file descriptors.
    """
    return {} if "WANDB_CONSOLE" in os.environ or "ipykernel" in sys.modules else {"console": "redirect"}
