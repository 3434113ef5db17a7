"""Settings for everything inside a block: ``with wandb_config(project="demo"):``."""

from __future__ import annotations

import functools
import inspect
import threading
from contextvars import ContextVar
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from ultralytics_wb_ddp.config.options import RunOptions, WandbConfig
from ultralytics_wb_ddp.utils.serialization import REDACTED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from typing_extensions import Self, Unpack

    from ultralytics_wb_ddp.config.options import ScopeOptionsDict


INHERITED = "_ultralytics_wb_ddp_blocks"  # attribute of a thread: the blocks in which it was started
_active: ContextVar[tuple[ConfigScope, ...] | None] = ContextVar("ultralytics_wb_ddp_blocks", default=None)
_applied_by_run_id: dict[str, tuple[ConfigScope, ...]] = {}  # by the id of a run that a manager holds
_installing = threading.Lock()
Function = TypeVar("Function", bound="Callable[..., Any]")


class ConfigScope:
    """Settings that hold inside a ``with`` statement or a decorated function; :func:`wandb_config` makes it.

    Attributes:
        values: The settings that were given, by name, checked.
    """

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def __enter__(self) -> Self:
        _make_threads_inherit_scopes()
        _active.set((*active_scopes(), self))
        return self

    def __exit__(self, *_: object) -> None:
        _active.set(active_scopes()[:-1])

    def __call__(self, function: Function) -> Function:
        """Return a function whose calls are each inside of a block of their own."""
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def call_later(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return await function(*args, **kwargs)

            return call_later  # type: ignore[return-value]

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return call  # type: ignore[return-value]

    def __repr__(self) -> str:
        shown = {**self.values, **({"api_key": REDACTED} if "api_key" in self.values else {})}
        return f"wandb_config({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def __getstate__(self) -> dict[str, Any]:
        """Leave the API key behind: a pickle may end in a file."""
        return {"values": {name: value for name, value in self.values.items() if name != "api_key"}}


def wandb_config(**options: Unpack[ScopeOptionsDict]) -> ConfigScope:
    """Set how runs are made for everything inside a block: callbacks, managers, jobs.

    Use it in a ``with`` statement or as a decorator. What is given to ``add_wandb_callback``, :class:`WandbManager` or
    a job itself, their names and groups of the run included, wins over the block, an inner block over an outer one.
    The block reaches the threads that are started in it, asyncio's tasks, and the processes of the trainings in it;
    not processes that the script starts by itself.

    Args:
        **options: As for ``add_wandb_callback``; for managers and jobs also ``id``, ``api_key`` and ``keep_open``, see
            :class:`WandbConfig`.

    Raises:
        ConfigurationError: An option is unknown or wrong.
    """
    config = WandbConfig.parse(options, "wandb_config")
    values = {name: getattr(config, name) for name, value in options.items() if value is not None}
    if values.pop("strategy", None):  # what it means, so that an inner block can change one half of it
        values["run_mode"], values["rank_scope"] = config.logging_mode()
    return ConfigScope(values)


def active_scopes() -> tuple[ConfigScope, ...]:
    """Return the blocks that are around here, the outermost first."""
    entered = _active.get()
    return getattr(threading.current_thread(), INHERITED, ()) if entered is None else entered


def merge_scopes(around: Iterable[ConfigScope]) -> dict[str, Any]:
    """Return the settings of blocks, of which later ones win, by name."""
    return {name: value for block in around for name, value in block.values.items()}


def scope_settings(*named: str) -> dict[str, Any]:
    """Return the settings of the blocks around here by name, without those that are given here by another name."""
    return {name: value for name, value in merge_scopes(active_scopes()).items() if name not in named}


def scope_options(made_in: tuple[ConfigScope, ...], run_id: str | None) -> dict[str, Any]:
    """Return how blocks want a training to be logged, by name.

    Args:
        made_in: The blocks in which its callback was made; those around here are inside of them.
        run_id: Run that the training may continue. Its manager has had its say over the blocks that it is in itself.
    """
    here = active_scopes()
    around = (*(block for block in made_in if block not in here), *here)
    taken_up = _applied_by_run_id.get(run_id or "", ())
    known = {field.name for field in fields(RunOptions)}
    values = merge_scopes(block for block in around if block not in taken_up)
    return {name: value for name, value in values.items() if name in known}


def mark_scopes_applied(run_id: str, around: tuple[ConfigScope, ...]) -> None:
    """Say that the manager of a run has read the blocks that it is in."""
    _applied_by_run_id[run_id] = around


def forget_scopes_applied(run_id: str) -> None:
    """Say that a run has no manager any more."""
    _applied_by_run_id.pop(run_id, None)


def _make_threads_inherit_scopes() -> None:
    """Have threads see the blocks in which they are started, which before Python 3.14 no context variable does."""
    with _installing:
        start = threading.Thread.start
        if hasattr(start, INHERITED):
            return

        @functools.wraps(start)
        def start_inside(thread: threading.Thread) -> None:
            setattr(thread, INHERITED, active_scopes())
            start(thread)

        setattr(start_inside, INHERITED, True)
        threading.Thread.start = start_inside  # type: ignore[assignment,method-assign]
