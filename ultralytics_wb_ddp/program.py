"""Log any distributed program to W&B, with or without an Ultralytics training: ``wandb_init``."""

from __future__ import annotations

import functools
import inspect
import itertools
import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ultralytics_wb_ddp.config.options import RunOptions, WandbConfig, merge
from ultralytics_wb_ddp.config.scope import ConfigScope, active_scopes, merge_scopes, scopes_around
from ultralytics_wb_ddp.config.validation import ConfigurationError, check_known_keys
from ultralytics_wb_ddp.distributed.signals import on_termination
from ultralytics_wb_ddp.distributed.topology import is_main_process
from ultralytics_wb_ddp.runs.misuse_warnings import GivenOptions
from ultralytics_wb_ddp.runs.open_runs import registry, warn_of_unused_run
from ultralytics_wb_ddp.runs.preemption import preempt_runs
from ultralytics_wb_ddp.runs.rank_runs import RankRuns, check_base, find_base
from ultralytics_wb_ddp.runs.resolution import open_main_run
from ultralytics_wb_ddp.utils.environment import set_or_unset
from ultralytics_wb_ddp.utils.serialization import REDACTED

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Unpack

    from ultralytics_wb_ddp.config.options import ProgramOptionsDict
    from ultralytics_wb_ddp.runs.guarded_run import GuardedRun
    from ultralytics_wb_ddp.runs.handoff import Handoff


OPTIONS = (*(field.name for field in fields(WandbConfig) if field.name != "keep_open"), "config")
TRAINING_DEFAULTS = {"run_mode": "auto", "rank_scope": "global"}  # a training inside logs to the run of rank 0
Function = TypeVar("Function", bound=Callable[..., Any])
_numbers = itertools.count()  # all ranks enter all blocks of a launch in the same order
_open_blocks: dict[int, WandbInit] = {}  # by process id: a forked process is outside of the block


class WandbInit:
    """A ``with`` block, or a decorated function, whose ranks log to W&B.

    :func:`wandb_init` creates it.
    """

    def __init__(self, given: Mapping[str, Any], config: Mapping[str, Any], scopes: tuple[ConfigScope, ...]) -> None:
        self._given, self._config, self._scopes = given, config, scopes
        self._api_key: str | None = None  # of the environment before the block
        self._ranks: RankRuns | None = None
        self._run: GuardedRun | None = None
        self._training_scope = ConfigScope({})

    def __repr__(self) -> str:
        shown = {**self._given, **({"api_key": REDACTED} if "api_key" in self._given else {})}
        return f"wandb_init({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def __enter__(self) -> Any:
        """Open the run of this rank.

        Returns:
            The ``wandb.Run``. None on a rank that does not log, if W&B is disabled, and if no run could be opened.

        Raises:
            ConfigurationError: This process is in such a block already, the environment is damaged, or the options
                contradict it.
            ConnectionError: With ``on_error="raise"``: the run of rank 0 or of the launcher cannot be reached.
            wandb.errors.Error: W&B refuses or cannot be reached, with ``on_error="raise"``.
        """
        self._refuse_nesting()
        store_name = f"program/{next(_numbers)}"
        settings = merge(self._given, merge_scopes(scopes_around(self._scopes)))
        options = RunOptions(**{name: settings[name] for name in settings.keys() & _names_of(RunOptions)})
        base = find_base(settings.get("id"), options, os.environ)
        ranks = RankRuns(options, base, store_name)
        check_base(base, os.environ, others_log=ranks.others_log)
        self._ranks, self._api_key = ranks, os.environ.get("WANDB_API_KEY")
        set_or_unset("WANDB_API_KEY", settings.get("api_key") or self._api_key)
        _open_blocks[os.getpid()] = self
        try:
            self._run = self._open(ranks, options, base)
        except BaseException as error:
            ranks.publish_failure(error)
            self._leave(ranks, error)
            raise
        self._training_scope = ConfigScope({**options.training_options(), **TRAINING_DEFAULTS})
        self._training_scope.__enter__()
        return self._run.wandb_run if self._run else None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the run with the true exit code."""
        self._training_scope.__exit__()
        ranks, run = self._ranks, self._run
        assert ranks  # noqa: S101  # __enter__ has set it
        try:
            if run:
                exit_code = ranks.exit_code_of(error)
                registry.failed_exit_code = (
                    exit_code or 1
                )  # torchrun may terminate this rank before its run is finished
                if not exit_code:
                    ranks.wait_for_writers()
                run.close(exit_code)
        finally:
            self._leave(ranks, error)

    def _refuse_nesting(self) -> None:
        outer = _open_blocks.get(os.getpid())
        if outer is not None:
            msg = (
                f"{self} inside of {outer}: a process logs one program at a time; use get_wandb_run() for the run of "
                "the outer block, or end that block first"
            )
            raise ConfigurationError(msg)

    def _open(self, ranks: RankRuns, options: RunOptions, base: Handoff | None) -> GuardedRun | None:
        """Open the run of this rank; the other ranks learn of that of rank 0."""
        if ranks.plan:
            ranks.open_store()
        registry.failed_exit_code = 1
        if is_main_process():
            run = open_main_run(None, base, options, {})
        elif ranks.plan:
            run = ranks.open_rank_run(options, base=base)
        else:
            warn_of_unused_run(base.run_id if base else None)
            run = None
        on_termination(ranks.terminate)
        if run:
            run.failed_exit_code = ranks.failed_exit_code
            run.start_program()
            self._write_config(run)
            self._warn_of_unused_options(run)
        if is_main_process():
            ranks.publish(run)
        return run

    def _write_config(self, run: GuardedRun) -> None:
        """Write the user's config. A further writer of a shared run has got that of the main process."""
        if self._config and (run.origin != "shared" or is_main_process()):
            with run.guard("the config"):
                run.wandb_run.config.update(dict(self._config), allow_val_change=True)

    def _warn_of_unused_options(self, run: GuardedRun) -> None:
        if run.origin in {"adopt", "attach"}:
            remedy = "give them where the run is made, or finish it before wandb_init"
            GivenOptions(self._given, "wandb_init", remedy).warn(run.wandb_run)

    def _leave(self, ranks: RankRuns, error: BaseException | None) -> None:
        """Report this rank's end to the others and undo the changes of this process."""
        is_exit = isinstance(error, SystemExit)
        exit_code = ranks.exit_code_of(error) if is_exit else 0
        if exit_code:
            ranks.report_exit_code(exit_code)
        ranks.close(exit_code)
        on_termination(preempt_runs)
        set_or_unset("WANDB_API_KEY", self._api_key)
        self._ranks = self._run = None
        _open_blocks.pop(os.getpid(), None)

    def __call__(self, function: Function) -> Function:
        """Return a function that enters a block of its own for each call."""
        _check_function(function)
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def call_later(*args: Any, **kwargs: Any) -> Any:
                with WandbInit(self._given, self._config, self._scopes):
                    return await function(*args, **kwargs)

            return call_later  # type: ignore[return-value]

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with WandbInit(self._given, self._config, self._scopes):
                return function(*args, **kwargs)

        return call  # type: ignore[return-value]


@overload
def wandb_init(function: Function, /) -> Function: ...


@overload
def wandb_init(**options: Unpack[ProgramOptionsDict]) -> WandbInit: ...


def wandb_init(function: Any = None, /, **options: Any) -> Any:
    """Log a distributed program to W&B.

    Use it in a ``with`` statement, ``with wandb_init(project="demo") as run:``, or as a decorator, with or without
    options. All ranks enter the block. ``run`` is None on ranks that do not log; inside, :func:`get_wandb_run` returns
    it, too. The block ends the run in its true state.

    The run is the first of these: the run that is active in this process; the run of ``id`` or ``WANDB_RUN_ID``, which
    is continued; the run that is open in the launcher; a new run. Settings of :func:`wandb_config` count where an
    option is not given.

    Args:
        function: The function to decorate, without options.
        **options: Options of the run, named as in ``wandb.init`` (``project``, ``name``, ``group``, ``id``, ``config``,
            ...), the ranks that log (``run_mode`` and ``rank_scope``, or ``strategy``), and ``on_error``. Options of
            the logging of a training (``checkpoints``, ``mistakes``, ...) count for Ultralytics trainings inside the
            block, which log to its run. See :class:`~ultralytics_wb_ddp.config.options.RunOptions`.

    Returns:
        The context manager and decorator, or the decorated function.

    Raises:
        ConfigurationError: An option is unknown or wrong, or the function cannot be decorated.
    """
    if function is not None:
        return wandb_init()(function)
    if "resume" in options:
        msg = "wandb_init: 'resume' has no place here: an existing run of the id is continued; give id= alone"
        raise ConfigurationError(msg)
    check_known_keys(options, OPTIONS, "wandb_init")
    config = options.pop("config", None) or {}
    if not isinstance(config, Mapping):
        msg = f"wandb_init: config={config!r}: a mapping of names and values is expected; use vars(args), for example"
        raise ConfigurationError(msg)
    return WandbInit(merge(WandbConfig.parse_layer(options, "wandb_init")), config, active_scopes())


def _check_function(function: Any) -> None:
    """Refuse objects whose body would not run inside of the block.

    Raises:
        ConfigurationError: The object is no function, or a generator function.
    """
    problem = ""
    if not callable(function) or inspect.isclass(function):
        problem = "it is no function; name the options, as in wandb_init(project='demo'), and decorate a function"
    elif inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        problem = "the body of a generator runs after the call; use 'with wandb_init(...):' inside of it"
    if problem:
        msg = f"wandb_init: {function!r} cannot be decorated: {problem}"
        raise ConfigurationError(msg)


def _names_of(kind: type) -> set[str]:
    return {field.name for field in fields(kind)}
