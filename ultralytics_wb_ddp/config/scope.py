"""Set options for everything inside a ``with`` block: ``with wandb_config(project="demo"):``."""

from __future__ import annotations

import functools
import inspect
from contextvars import ContextVar
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from ultralytics_wb_ddp.config.options import RunOptions, WandbConfig, merge
from ultralytics_wb_ddp.utils.serialization import REDACTED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from typing_extensions import Self, Unpack

    from ultralytics_wb_ddp.config.options import ScopeOptionsDict


_active: ContextVar[tuple[ConfigScope, ...]] = ContextVar("ultralytics_wb_ddp_scopes", default=())
_applied_by_run_id: dict[str, tuple[ConfigScope, ...]] = {}  # by the id of a run that a manager keeps open
Function = TypeVar("Function", bound="Callable[..., Any]")


class ConfigScope:
    """Settings for a ``with`` block or a decorated function, as far as the user set them.

    :func:`wandb_config` creates it.
    """

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def __enter__(self) -> Self:
        _active.set((*active_scopes(), self))
        return self

    def __exit__(self, *_: object) -> None:
        _active.set(active_scopes()[:-1])

    def __call__(self, function: Function) -> Function:
        """Return a function that enters this scope for each call."""
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
        """Return the state without the API key, which must not be pickled."""
        return {"values": {name: value for name, value in self.values.items() if name != "api_key"}}


def wandb_config(**options: Unpack[ScopeOptionsDict]) -> ConfigScope:
    """Set the options of all runs inside a ``with`` block.

    Use it in a ``with`` statement or as a decorator. It applies to callbacks, managers and jobs. Their own arguments,
    names and groups of the run included, win over the block. An inner block wins over an outer one. The block also
    applies to the processes of its trainings, to asyncio's tasks, and to a callback that was created in it and trains
    in another thread. For other code in a thread, Python's own rule counts: it runs inside the block if it is started
    by ``contextvars.copy_context().run``. The block does not apply to processes that the script starts.

    Args:
        **options: As for ``add_wandb_callback``; for managers and jobs also ``id``, ``api_key`` and ``keep_open``, see
            :class:`WandbConfig`.

    Returns:
        The scope, a context manager and decorator.

    Raises:
        ConfigurationError: An option is unknown or wrong.
    """
    return ConfigScope(merge(WandbConfig.parse_layer(options, "wandb_config")))


def active_scopes() -> tuple[ConfigScope, ...]:
    """Return the active scopes, the outermost first."""
    return _active.get()


def scopes_around(creation_scopes: tuple[ConfigScope, ...]) -> tuple[ConfigScope, ...]:
    """Return the scopes in which an object was created, and the active scopes inside them."""
    active = active_scopes()
    return (*(scope for scope in creation_scopes if scope not in active), *active)


def merge_scopes(around: Iterable[ConfigScope]) -> dict[str, Any]:
    """Return the settings of all scopes by name; later scopes win."""
    return merge(*(scope.values for scope in reversed([*around])))


def scope_settings(*named: str) -> dict[str, Any]:
    """Return the settings of the active scopes by name, without those that the caller has under another name."""
    return {name: value for name, value in merge_scopes(active_scopes()).items() if name not in named}


def scope_options(creation_scopes: tuple[ConfigScope, ...], run_id: str | None) -> dict[str, Any]:
    """Return the run options that scopes set for a training, by name.

    Args:
        creation_scopes: Scopes in which the training's callback was created. The active scopes are inside them.
        run_id: Run that the training may continue. Its manager has already applied the scopes around itself.
    """
    applied = _applied_by_run_id.get(run_id or "", ())
    known = {field.name for field in fields(RunOptions)}
    values = merge_scopes(scope for scope in scopes_around(creation_scopes) if scope not in applied)
    return {name: value for name, value in values.items() if name in known}


def mark_scopes_applied(run_id: str, around: tuple[ConfigScope, ...]) -> None:
    """Record the scopes that the manager of a run has applied."""
    _applied_by_run_id[run_id] = around


def forget_scopes_applied(run_id: str) -> None:
    """Forget the scopes of a run whose manager has ended."""
    _applied_by_run_id.pop(run_id, None)
