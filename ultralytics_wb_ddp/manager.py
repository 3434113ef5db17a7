"""The run in the launcher, before and after the training."""

from __future__ import annotations

import json
import netrc
import os
import sys
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config.names import training_inputs_name
from ultralytics_wb_ddp.config.options import RUN_ONLY_OPTIONS, RunOptions, WandbConfig, merge
from ultralytics_wb_ddp.config.scope import active_scopes, forget_scopes_applied, mark_scopes_applied, scope_settings
from ultralytics_wb_ddp.config.types import Name, group_of_environment
from ultralytics_wb_ddp.config.validation import ConfigurationError, validate
from ultralytics_wb_ddp.distributed.signals import on_termination
from ultralytics_wb_ddp.distributed.topology import Topology, is_main_process, plan_rank
from ultralytics_wb_ddp.runs import journal
from ultralytics_wb_ddp.runs.handoff import HANDOFF_VARIABLE, Handoff, exit_code_of_launch
from ultralytics_wb_ddp.runs.links import Links
from ultralytics_wb_ddp.runs.misuse_warnings import (
    GivenOptions,
    has_trained_since,
    run_ids_with_callback,
    warn_of_nothing_logged,
)
from ultralytics_wb_ddp.runs.open_runs import exit_code_of_run
from ultralytics_wb_ddp.runs.resolution import handoff_of_open_run, logging_ranks
from ultralytics_wb_ddp.runs.service_process import ServiceProcess
from ultralytics_wb_ddp.utils.environment import set_or_unset
from ultralytics_wb_ddp.utils.errors import exit_code_of
from ultralytics_wb_ddp.utils.logging import format_exception, logger
from ultralytics_wb_ddp.utils.serialization import redact, to_plain
from ultralytics_wb_ddp.wandb_client.run_state import get_next_step, get_run_dir, sync_command

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self, Unpack

    from ultralytics_wb_ddp.config.options import GroupOptionsDict
    from ultralytics_wb_ddp.cross_validation.run_group import RunGroup
    from ultralytics_wb_ddp.tools.download import DownloadedRun

__all__ = ["WandbManager"]

CONFIG_FILE = "configs/training-job-config.yaml"
METADATA_FILE = "training-job-metadata.json"
JOB_TYPE = "training"  # the default for a run that a manager creates
LAUNCHER_LABEL = "launcher"  # writer label in a shared run, if this process has no rank
EXPORTED_VARIABLES = (
    "WANDB_RUN_ID",
    "WANDB_PROJECT",
    "WANDB_ENTITY",
    "WANDB_RUN_GROUP",
    "WANDB_API_KEY",
    "EXPERIMENT_GROUP_NAME",
    HANDOFF_VARIABLE,
)

RUN_ATTRIBUTES = (  # attributes that users look up on the manager
    *("log", "summary", "name", "id", "url", "tags", "notes", "log_artifact", "use_artifact", "define_metric"),
    *("alert", "watch", "save", "log_code", "dir", "project", "entity", "mark_preempting"),
)
RUN_VARIABLES = ("WANDB_ENTITY", "WANDB_RUN_GROUP", "EXPERIMENT_GROUP_NAME")  # exported for one run only

_managed_run_ids: set[str] = set()  # ids of the runs that managers of this process hold
_exporting: list[WandbManager] = []  # managers of this process that changed the environment, latest last


class WandbManager:
    """The run of a training job, in the launcher.

    The manager creates the run, hands it to the workers, takes it back and finishes it.

    On a rank that is not the main process every method does nothing, so that one script serves every launch.

    Args:
        cfg: The job's config as an OmegaConf config, mapping, dataclass or namespace. The manager reads ``cfg.wandb``,
            see :class:`WandbConfig`. ``cfg.wandb.project`` is required, there or from :func:`wandb_config`. A new run
            gets the job type of ``cfg.wandb.job_type``, :func:`wandb_config` or ``WANDB_JOB_TYPE``, by default
            ``"training"``. A continued run keeps its own.
        job_name: Name of the job, and of the run unless ``cfg.wandb.name`` is set. By default it is
            ``cfg.wandb.name``.
        experiment_group_name: Group of the run. By default it is ``cfg.wandb.group``, then that of
            :func:`wandb_config`, then ``EXPERIMENT_GROUP_NAME`` in the environment.

    Attributes:
        cfg: The given config.
        job_name: The given name, or else ``cfg.wandb.name``.
        experiment_group_name: The given name of the group.
        run: The ``wandb.Run`` while it is open in this process, else None.
        wandb_url: Web address of the run. None offline and before :meth:`initialize`.

    Raises:
        ConfigurationError: ``cfg.wandb.project`` or both names are missing, a setting is unknown or wrong, or a name is
            not a string.
    """

    on_finish: Callable[[int], None] | None = None  # called with the exit code before the run is finished
    is_job_run = False  # whether the manager belongs to a job, which ends after the training

    def __init__(self, cfg: Any, job_name: str | None = None, experiment_group_name: str | None = None) -> None:
        for parameter, value in (("job_name", job_name), ("experiment_group_name", experiment_group_name)):
            if value not in (None, ""):
                validate(Name, value, parameter)
        self._scopes = active_scopes()
        self.config = WandbConfig.from_cfg(cfg, scope_settings(*(("name",) if job_name else ())))
        if not (job_name or self.config.name):
            msg = "job_name is missing; give WandbManager(cfg, job_name=...), or name the run in cfg.wandb.name"
            raise ConfigurationError(msg)
        self.cfg = cfg
        self.job_name = job_name or self.config.name
        self.experiment_group_name = experiment_group_name
        self._options = RunOptions(
            **merge({"group": experiment_group_name or None}, self.config.as_layer(), {"name": job_name})
        )
        if not self._options.group:
            group_of_environment()  # it is checked here, before anything is started
        self.run: Any = None
        self.wandb_url: str | None = None
        self._adopted = False
        self._links = Links()
        self._expects_since = 0.0  # time, in seconds since 1970, from which on a training must be logged
        self._is_training_expected = False  # set by prepare_for_training
        self._has_failed = False
        self._handoff: Handoff | None = None
        self._last: Handoff | None = None
        self._environment: dict[str, str | None] = {}
        self._run_group: str | None = None  # group of the open run
        self._exported: dict[str, str | None] = {}  # variables that this manager wrote to the environment

    if not TYPE_CHECKING:  # so that the type checker still reports misspelt names

        def __getattr__(self, name: str) -> Any:
            remedy = f"; the run has it: manager.run.{name}" if name in RUN_ATTRIBUTES else ""
            msg = f"{type(self).__name__!r} object has no attribute {name!r}{remedy}"
            raise AttributeError(msg)

    def __enter__(self) -> Self:
        self.initialize()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.finish(self._exit_code_of(error))

    def _exit_code_of(self, error: BaseException | None) -> int:
        """Return the exit code of this process's end, of which a worker may be the cause."""
        if self.run is not None:
            return exit_code_of_run(self.run, error)
        return exit_code_of_launch(error, self._handoff) if self._handoff else exit_code_of(error)

    @classmethod
    def group(cls, cfg: Any, name: str, runs: int, **options: Unpack[GroupOptionsDict]) -> RunGroup[Self]:
        """Return the run group of a cross-validation or of repeated trainings.

        Use ``with WandbManager.group(cfg, "5-fold", runs=5) as group:``, and in it ``for number, manager in group:``.
        The group also has a summary run.

        Args:
            cfg: As for the manager, without ``cfg.wandb.id``.
            name: Name of the group.
            runs: Number of trainings.
            **options: ``job_type``, ``metrics`` and ``resume`` of :class:`RunGroup`.

        Raises:
            ConfigurationError: A setting is wrong or contradicts the group.
        """
        from ultralytics_wb_ddp.cross_validation.run_group import RunGroup

        return RunGroup(cfg, name, runs, cls, **options)

    def initialize(self) -> tuple[Any, str | None]:
        """Create the run, or continue an existing run, and export the handoff.

        The run to continue is that of ``cfg.wandb.id`` or ``WANDB_RUN_ID``. An active run that the script opened
        itself is adopted. A run that a manager holds open in the parent process is attached to. The manager does not
        finish an adopted or attached run.

        Returns:
            The ``wandb.Run`` and its web address. ``(None, None)`` on a rank that is not the main process.

        Raises:
            ConfigurationError: ``WANDB_RUN_ID`` or ``ULTRALYTICS_WB_DDP`` in the environment is damaged.
            wandb.errors.Error: W&B refuses, for example without an API key.
        """
        if not is_main_process() or self._handoff:
            return self.run, self.wandb_url
        from ultralytics_wb_ddp.runs.preemption import preempt_runs

        logging_ranks(self._options, None, os.environ)
        inherited = Handoff.from_env()
        if inherited and inherited.run_id in _managed_run_ids:
            inherited = None  # another manager of this process exported it for its own training
        self._environment = {name: os.environ.get(name) for name in EXPORTED_VARIABLES}
        for name in RUN_VARIABLES:
            set_or_unset(name, _user_variable(name))
        self._options = RunOptions(**merge(self._options.as_layer(), {"group": group_of_environment()}))
        if self.config.api_key:
            os.environ["WANDB_API_KEY"] = self.config.api_key
        try:
            self._open_run(inherited)
        except BaseException:
            self._restore_environment()
            raise
        self._expects_since, self._has_failed = time.time(), False
        self._export_handoff(handoff_of_open_run(self.run))
        _managed_run_ids.add(self.run.id)
        mark_scopes_applied(self.run.id, self._scopes)
        on_termination(preempt_runs)
        return self.run, self.wandb_url

    def save_config(self, raw_cfg: Any) -> None:
        """Store a config as ``configs/training-job-config.yaml`` in the run's files.

        Secrets are replaced by ``[redacted]``. Secrets are the values of keys such as ``api_key``, ``token``,
        ``secret`` and ``password`` at any depth, and each occurrence of the API key in use. Interpolations are stored
        unresolved.

        Args:
            raw_cfg: An OmegaConf config, mapping, dataclass or namespace.
        """
        if self._require_open_run("save_config"):
            from omegaconf import OmegaConf

            plain = redact(to_plain(raw_cfg), self._secrets())
            self._save_file(CONFIG_FILE, OmegaConf.to_yaml(OmegaConf.create(plain)))

    def save_training_artifacts(
        self,
        *paths: str | os.PathLike[str],
        name: str | None = None,
        type: str = "training-inputs",  # noqa: A002  # W&B's word
    ) -> Any:
        """Log files, folders and the list of installed packages as one artifact.

        Args:
            *paths: Files and folders. They are stored unchanged, secrets included.
            name: Name of the artifact. By default it is ``run_<id>_training_inputs``.
            type: Type of the artifact.

        Returns:
            The ``wandb.Artifact``. None on a rank that is not the main process.

        Raises:
            FileNotFoundError: A path does not exist.
            ValueError: Two paths have the same name.
        """
        if not self._require_open_run("save_training_artifacts"):
            return None
        from ultralytics_wb_ddp.artifacts.files import log_files

        return log_files(self.run, paths, name or training_inputs_name(self.run.id), type)

    def save_training_job_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Store metadata of the job in the run's config and files.

        The config holds them under ``job``. The file is ``training-job-metadata.json``.

        Args:
            metadata: Names and values, nested in any way. Secrets are redacted as in :meth:`save_config`.
        """
        if self._require_open_run("save_training_job_metadata"):
            plain = redact(to_plain(metadata), self._secrets())
            self.run.config.update({"job": plain}, allow_val_change=True)
            self._save_file(METADATA_FILE, json.dumps(plain, indent=2) + "\n")

    def prepare_for_training(self) -> None:
        """Hand the run to the workers.

        The run is closed, so that a worker on any host can resume it. With ``cfg.wandb.keep_open``, offline, and after
        an adoption, the run stays open instead, and the workers attach to it.
        """
        if self._is_active_rank() and self.run is not None:
            self._is_training_expected = True
            is_open = self._adopted or self.config.keep_open or self.run.offline or self.run.disabled
            handoff = handoff_of_open_run(self.run) if is_open else Handoff.of_run(self.run, is_open=False)
            if not is_open:
                from ultralytics_wb_ddp.runs.lifecycle import finish_run

                handoff.delete_handback()
                finish_run(self.run, 0)
                self.run = None
                handoff = replace(handoff, closed_at=time.time())
                ServiceProcess.watch_closed_run(self.config.finish_timeout, handoff)
            self._export_handoff(handoff)

    def resume_after_training(self) -> Any:
        """Take the run back after the training.

        Returns:
            The ``wandb.Run``. None on a rank that is not the main process.
        """
        previous = self._handoff
        lost_dir = self._give_up_lost_run()
        if self._is_active_rank() and self.run is None:
            handoff, _ = self._after_training(exit_code=1)
            self._reopen_run(handoff)
            if lost_dir:
                journal.record([get_run_dir(self.run)], lost_dir, id=handoff.run_id)
            self._export_handoff(handoff_of_open_run(self.run))
        elif self.run is not None and self._handoff and self._handoff.is_shared:
            self.run.config.update(self._handoff.handed_back_config(), allow_val_change=True)
        if previous and self.run is not None:
            self._warn_if_nothing_logged(previous)
        return self.run

    resume_run = resume_after_training

    def links(self) -> Links:
        """Return the links of the run, also of a closed run.

        Returns:
            Web addresses of the run, its project, group and sweep, and of each node's run if each node has its own.
            All addresses are None on a rank that is not the main process. They are also None offline, where
            ``sync_command`` sends the run.
        """
        return self._links

    def log_s3_artifact(
        self,
        s3_path: str,
        artifact_name: str,
        artifact_type: str = "model",
        *,
        aliases: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        checksum: bool = True,
        max_objects: int = 10_000,
        strict: bool = False,
    ) -> Any:
        """Log an artifact that refers to objects in S3, without copying them.

        The objects are read first and must exist. The reference records size, ETag and, in a versioned bucket, the
        version of each object. If S3 is not reachable (no boto3, no credentials, no answer), the reference is recorded
        without these values. After any other error the run has no artifact. Each error is logged as a message. With
        ``strict`` it is raised.

        Args:
            s3_path: ``s3://bucket/key`` of an object or a prefix; ``?versionId=...`` names a version of an object.
            artifact_name: Name of the artifact.
            artifact_type: Type of the artifact.
            aliases: Aliases of the artifact.
            metadata: Metadata of the artifact.
            checksum: Read size, ETag and version. Without ``checksum``, one entry names the path, even if it cannot be
                read. wandb's own download refuses such an entry.
            max_objects: Maximum number of objects below a prefix.
            strict: Raise an error if the reference cannot be recorded with all values that ``checksum`` requests.

        Returns:
            The ``wandb.Artifact``. None if no artifact was recorded.

        Raises:
            S3Error: With ``strict``: the path has no object, or S3 is not reachable.
            ConfigurationError: With ``strict``: W&B would refuse name, type, alias or metadata.
        """
        if not self._require_open_run("log_s3_artifact"):
            return None
        from ultralytics_wb_ddp.artifacts.s3_reference import log_s3_reference

        return log_s3_reference(
            self.run,
            s3_path,
            artifact_name,
            artifact_type,
            aliases=aliases,
            metadata=metadata,
            checksum=checksum,
            max_objects=max_objects,
            strict=strict,
        )

    def download_logs(
        self,
        directory: str | os.PathLike[str],
        *,
        format: str = "csv",  # noqa: A002  # as the command's --format
        strict: bool = False,
    ) -> DownloadedRun | None:
        """Download the run's files, history table and console log.

        Call this after :meth:`finish`, also if the manager was used in a ``with`` statement. W&B has only a part of an
        unfinished run, and gets the console log last. An error is logged as a message. With ``strict`` it is raised.

        Args:
            directory: Target directory, which is created. Files of the same name are overwritten.
            format: Format of the history, ``"csv"`` or ``"parquet"``.
            strict: Raise an error if not all could be downloaded.

        Returns:
            The downloaded run. None if no file was downloaded, and on a rank that is not the main process.

        Raises:
            DownloadError: With ``strict``: the directory cannot be written to, the run is not at W&B, or a part of
                the run could not be downloaded.
        """
        if not is_main_process():
            return None
        from ultralytics_wb_ddp.tools.download import download_run, missing_files_message
        from ultralytics_wb_ddp.wandb_client.server import DownloadError

        try:
            downloaded = download_run(self._path_of_run(), directory, format=format, api_key=self.config.api_key)
        except DownloadError as error:
            if strict:
                raise
            logger.warning("logs are not downloaded: %s", error)
            return None
        message = missing_files_message(downloaded)
        if message and strict:
            raise DownloadError(message)
        if message:
            logger.warning("%s", message)
        return downloaded

    def finish(self, exit_code: int = 0) -> None:
        """Finish the run and restore the environment from before :meth:`initialize`.

        A second call does nothing.

        Args:
            exit_code: 0 marks the run as finished, any other code as failed.
        """
        if not is_main_process() or self._handoff is None:
            return
        from ultralytics_wb_ddp.runs.guarded_run import close_runs_with_id
        from ultralytics_wb_ddp.runs.lifecycle import finish_run

        callback_error: Exception | None = None
        try:
            if self.on_finish:
                self.on_finish(exit_code)
        except Exception as error:  # noqa: BLE001  # raised once the run is finished
            exit_code, callback_error = exit_code or 1, error
        self._has_failed = bool(exit_code)
        try:
            if self.run is None and exit_code:  # the training failed while the run was closed
                handoff, worker_code = self._after_training(exit_code)
                if not worker_code:  # no worker has recorded the failure
                    self._reopen_run(handoff)
            if self.run is not None and not self._adopted:
                self.resume_after_training()
                close_runs_with_id(self.run.id, exit_code)
                finish_run(self.run, exit_code)
        except Exception as error:
            if self.config.on_error == "raise":
                raise
            logger.warning(
                "run %s could not be finished with exit code %d: %s",
                self._handoff.run_id,
                exit_code,
                format_exception(error),
            )
        finally:
            ServiceProcess.stop_watching(self._handoff.run_id)
            _managed_run_ids.discard(self._handoff.run_id)
            forget_scopes_applied(self._handoff.run_id)
            self.run = self._handoff = None
            self._restore_environment()
        if callback_error:
            raise callback_error

    def _open_run(self, inherited: Handoff | None) -> None:
        from ultralytics_wb_ddp.runs.lifecycle import attach, init_run, resume_run
        from ultralytics_wb_ddp.runs.open_runs import is_ours
        from ultralytics_wb_ddp.wandb_client.run_state import run_url, wandb_run

        active = wandb_run()
        if active is not None and not is_ours(active):
            self._adopted, self.run = True, active
        elif inherited and inherited.state == "open" and not self.config.id:  # it is open in the parent process
            self._adopted, self.run = True, attach(inherited)
        else:
            init_arguments = {"settings": _console_settings(), "writer": self._writer()}
            if inherited and not self.config.id:
                self.run = resume_run(self._options, inherited, "allow", **init_arguments)
            elif self.config.id:
                self.run = init_run(self._options, run_id=self.config.id, resume="allow", **init_arguments)
            else:
                self.run = init_run(self._new_run_options(), run_id=None, resume=None, **init_arguments)
            self._set_job_type(inherited)
        self.wandb_url = run_url(self.run)
        self._run_group = self.run.group or None
        if self._adopted:
            self._warn_of_unused_settings()
        self._links = Links.of_launcher(self.run, *logging_ranks(self._options, None, os.environ))

    def _new_run_options(self) -> RunOptions:
        default = {} if os.environ.get("WANDB_JOB_TYPE") else {"job_type": JOB_TYPE}
        return RunOptions(**merge(self._options.as_layer(), default))

    def _set_job_type(self, inherited: Handoff | None) -> None:
        """Set the job type of a new run opened by id. A continued run keeps its own."""
        from ultralytics_wb_ddp.runs.open_runs import may_have_existed
        from ultralytics_wb_ddp.wandb_client.internals import set_job_type

        job_type = self._new_run_options().job_type
        is_known = inherited is not None and inherited.is_of_known_run
        is_new = not is_known and not may_have_existed(self.run, self._options.mode)
        if job_type and is_new and not self.run.disabled and not self.run.job_type:
            set_job_type(self.run, job_type)

    def _after_training(self, exit_code: int) -> tuple[Handoff, int | None]:
        """Return the handoff after the training, and the exit code or None, as :meth:`Handoff.read_handback` does.

        Runs that a training left open in this process end with ``exit_code``.
        """
        from ultralytics_wb_ddp.runs.guarded_run import close_runs_with_id

        assert self._handoff is not None  # noqa: S101  # the callers have checked it
        close_runs_with_id(self._handoff.run_id, exit_code)
        return self._handoff.read_handback(self.config.finish_timeout)

    def _give_up_lost_run(self) -> Path | None:
        """Give up a run whose wandb-core was killed or whose disk is full, so that the run is opened again.

        Returns:
            W&B's folder of the session that was given up, or None.
        """
        from ultralytics_wb_ddp.runs.lifecycle import give_up_run
        from ultralytics_wb_ddp.runs.open_runs import registry
        from ultralytics_wb_ddp.wandb_client.run_state import is_closed
        from ultralytics_wb_ddp.wandb_client.storage import cannot_hold_rows

        if self.run is None or self._handoff is None or self._adopted or self.run.disabled or is_closed(self.run):
            return None
        open_run = registry.opened.get(self.run.id)
        if open_run is not None and open_run.run is not self.run:
            open_run = None
        has_core = open_run is not None and open_run.service_process.has_core
        if has_core and not cannot_hold_rows(self.run):
            return None
        cause = "W&B cannot write to its disk" if has_core else "its wandb-core was killed"
        logger.warning("run %s: %s; the run is opened again", self.run.id, cause)
        if open_run is not None:
            give_up_run(self.run)
            if not has_core:
                open_run.save_recent(open_run, 1)
        lost_dir, self.run = get_run_dir(self.run), None
        self._handoff = replace(self._handoff, state="closed", closed_at=time.time(), is_complete=False)
        return lost_dir

    def _reopen_run(self, handoff: Handoff) -> None:
        from ultralytics_wb_ddp.runs.lifecycle import define_metrics, resume_run

        given = self.config.as_layer()
        kept = {name: value for name, value in given.items() if name == "dir" or name not in RUN_ONLY_OPTIONS}
        options = RunOptions(**merge(handoff.run_options(), kept))  # the run already has its name, group and tags
        resume, writer = ("allow", self._writer()) if handoff.is_shared else ("must", None)
        self.run = resume_run(options, handoff, resume, settings=_console_settings(), writer=writer)
        if self.run.offline:  # the sent rows keep their addresses
            self._links = replace(self._links, sync_command=Links.of_run(self.run).sync_command)
        define_metrics(self.run)

    def _writer(self) -> Any:
        """Return this process's settings as a shared writer. None without ``run_mode="shared"``."""
        from ultralytics_wb_ddp.runs.lifecycle import SharedRunWriter

        run_mode, rank_scope = logging_ranks(self._options, None, os.environ)
        if run_mode != "shared":
            return None
        plan = plan_rank(Topology.from_env(), run_mode, rank_scope, "")
        label = (plan and plan.label) or LAUNCHER_LABEL
        return SharedRunWriter(label, primary=True, ends_run=True, measures=True)

    def _export_handoff(self, handoff: Handoff) -> None:
        self._handoff = self._last = handoff = replace(
            handoff, options=self._options.training_options(), is_job_run=self.is_job_run
        )
        self._exported = {
            **handoff.to_env(),
            "WANDB_RUN_GROUP": self._run_group,
            "EXPERIMENT_GROUP_NAME": self._run_group,
        }
        for name, value in self._exported.items():
            set_or_unset(name, value)
        if self not in _exporting:
            _exporting.append(self)

    def _restore_environment(self) -> None:
        if self in _exporting:
            _exporting.remove(self)
        for name, value in self._environment.items():
            set_or_unset(name, value)
        self._environment = {}

    def _warn_of_unused_settings(self) -> None:
        """Warn of settings that differ from the adopted run. Settings of scopes do not count."""
        from_scopes = scope_settings()
        settings = {item.name: getattr(self.config, item.name) for item in fields(self.config)}
        settings = {name: value for name, value in settings.items() if value != from_scopes.get(name)}
        if self.experiment_group_name:
            settings["group"] = self.experiment_group_name
        remedy = "give them where it is made, or finish it before the manager makes one"
        GivenOptions(settings, "cfg.wandb", remedy).warn(self.run)

    def _save_file(self, name: str, text: str) -> None:
        file = Path(self.run.dir, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        self.run.save(str(file), base_path=self.run.dir, policy="now")

    def _secrets(self) -> list[str | None]:
        try:
            stored = [password for _, _, password in netrc.netrc(os.environ.get("NETRC")).hosts.values()]
        except (OSError, netrc.NetrcParseError):
            stored = []
        return [self.config.api_key, os.environ.get("WANDB_API_KEY"), *stored]

    def _warn_if_nothing_logged(self, previous: Handoff) -> None:
        """Warn if a training ran or was prepared without logging a row.

        Only ``run_mode="auto"`` is checked. In the other modes the ranks have runs of their own, or this process does
        not see their rows.
        """
        since, self._expects_since = self._expects_since, time.time()
        is_due, self._is_training_expected = self._is_training_expected, False
        is_plain = logging_ranks(self._options, None, os.environ)[0] == "auto" and not self.run.disabled
        is_logged = (
            previous.run_id in run_ids_with_callback
            or previous.was_taken_up()
            or get_next_step(self.run) > previous.next_step
        )
        if is_plain and not is_logged and not self._has_failed and (is_due or has_trained_since(since)):
            warn_of_nothing_logged(previous.run_id)

    def _path_of_run(self) -> str:
        from ultralytics_wb_ddp.wandb_client.server import DownloadError

        run = self._last
        if run is None:
            msg = "there is no run yet; call initialize() first"
        elif run.mode == "online":
            return "/".join(part for part in (run.entity, run.project, run.run_id) if part)
        elif run.mode == "offline" and run.files_dir:
            folder = Path(run.files_dir).parent
            msg = f"run {run.run_id} is on disk only, in {folder}; send it first: {sync_command(folder)}"
        else:
            msg = f"run {run.run_id} is disabled and was never written anywhere; use another mode"
        raise DownloadError(msg)

    def _is_active_rank(self) -> bool:
        """Return whether this rank is the main process.

        Raises:
            RuntimeError: It is, but the manager has no run.
        """
        if not is_main_process():
            return False
        if self._handoff is None:
            msg = f"job {self.job_name!r} has no run; call initialize() first, or use the manager in a with statement"
            raise RuntimeError(msg)
        return True

    def _require_open_run(self, method: str) -> bool:
        """Return whether this rank is the main process.

        Raises:
            RuntimeError: It is, but the run is not open in this process.
        """
        is_active = self._is_active_rank()
        if is_active and self.run is None:
            msg = f"{method}() needs the run of job {self.job_name!r}, which is closed; call resume_after_training()"
            raise RuntimeError(msg)
        return is_active


def _user_variable(name: str) -> str | None:
    """Return an environment variable without the exports of this process's managers."""
    value = os.environ.get(name)
    for manager in reversed(_exporting):
        if value == manager._exported.get(name):  # noqa: SLF001  # an attribute of the same class
            value = manager._environment.get(name)  # noqa: SLF001
    return value


def _console_settings() -> dict[str, str]:
    """Return the settings that capture the workers' output, too.

    The workers write to inherited file descriptors. wandb's default captures the output of this process only. In a
    notebook the file descriptors carry no output.
    """
    return {} if "WANDB_CONSOLE" in os.environ or "ipykernel" in sys.modules else {"console": "redirect"}
