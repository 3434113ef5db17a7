"""How callbacks get to the workers of Ultralytics' own launch: before 8.4.140 it leaves them behind in the launcher."""

from __future__ import annotations

import base64
import functools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config.validation import ConfigurationError
from ultralytics_wb_ddp.training.teardown import tear_down_after_exceptions
from ultralytics_wb_ddp.utils.logging import format_exception

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


INTEGRATIONS = "ultralytics.utils.callbacks."
DEFAULTS = "ultralytics.utils.callbacks.base"
_LOADER = """\
if __name__ == "__main__":
    import base64, pickle, sys
    sys.path[:0] = [entry for entry in {path!r} if entry not in sys.path]
    _callbacks = pickle.loads(base64.b64decode({callbacks!r}))
"""


class PortableCallbacks(Mapping[str, "Callable[[Any], None]"]):
    """Functions by event that get to the workers, however they are registered.

    Who registers them by hand takes them out of here first, in the process that launches: that is the moment from which
    its launches take callbacks along.

    Args:
        functions: The functions by event.
    """

    def __init__(self, functions: dict[str, Callable[[Any], None]]) -> None:
        self._functions = functions

    def __getitem__(self, event: str) -> Callable[[Any], None]:
        function = self._functions[event]
        install_callback_transport()
        tear_down_after_exceptions()
        return function

    def __iter__(self) -> Iterator[str]:
        return iter(self._functions)

    def __len__(self) -> int:
        return len(self._functions)

    def __repr__(self) -> str:
        return repr(self._functions)


def install_callback_transport() -> None:
    """Have the launches of this process take the trainer's callbacks along, and refuse one that cannot travel.

    Releases that take them along themselves are left to it. The functions that prepare a launch are wrapped in this
    process, no installed file is touched. The callbacks travel inside the workers' start file, which Ultralytics makes
    readable for its owner only and deletes.
    """
    from ultralytics.engine import trainer as trainer_module
    from ultralytics.utils import dist

    write_file, prepare = dist.generate_ddp_file, trainer_module.generate_ddp_command
    if hasattr(write_file, "__wrapped__"):
        return

    @functools.wraps(write_file)
    def generate_ddp_file(trainer: Any) -> str:
        file: str = write_file(trainer)
        text = Path(file).read_text(encoding="utf-8")
        if "_callbacks=" not in text:
            Path(file).write_text(_inject_callbacks(text, trainer.callbacks), encoding="utf-8")
        return file

    @functools.wraps(prepare)
    def generate_ddp_command(*args: Any) -> Any:  # a further argument comes first until 8.3.199
        check_picklable(args[-1].callbacks)
        return prepare(*args)

    dist.generate_ddp_file = generate_ddp_file
    trainer_module.generate_ddp_command = generate_ddp_command


def check_picklable(callbacks: dict[str, list[Any]]) -> None:
    """Refuse a callback that cannot travel, before Ultralytics removes what an earlier training has left.

    Args:
        callbacks: The trainer's callbacks by event.

    Raises:
        ConfigurationError: One cannot be pickled.
    """
    import cloudpickle

    seen: set[int] = set()
    for event, found in callbacks.items():
        for function in filter(_is_user_callback, found):
            owner = getattr(function, "__self__", function)
            if id(owner) in seen:
                continue
            seen.add(id(owner))
            try:
                cloudpickle.dumps(function)
            except ConfigurationError:  # ours, which refuses a run that workers cannot have
                raise
            except Exception as error:
                name = getattr(function, "__qualname__", None) or type(function).__qualname__
                msg = (
                    f"callback {name!r} of event {event!r} cannot travel to the processes that train: "
                    f"{format_exception(error)}; have it make locks, open files and connections when it is first "
                    "called there"
                )
                raise ConfigurationError(msg) from error


def _inject_callbacks(text: str, callbacks: dict[str, list[Any]]) -> str:
    """Return the text of a start file that hands callbacks to the trainer that it makes."""
    import cloudpickle

    travelling = {
        event: [function for function in found if _is_user_callback(function)] for event, found in callbacks.items()
    }
    packed = base64.b64encode(cloudpickle.dumps(travelling)).decode()
    text = text.replace('if __name__ == "__main__":\n', _LOADER.format(path=sys.path, callbacks=packed), 1)
    return text.replace("overrides=overrides)", "overrides=overrides, _callbacks=_callbacks)", 1)


def _is_user_callback(function: Any) -> bool:
    """Return whether a callback is the user's; each worker adds Ultralytics' integrations itself, on rank 0 only."""
    module = getattr(function, "__module__", None) or ""
    return module == DEFAULTS or not module.startswith(INTEGRATIONS)
