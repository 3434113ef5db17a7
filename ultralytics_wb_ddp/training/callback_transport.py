"""Send the trainer's callbacks to the workers that Ultralytics launches.

Before 8.4.140 Ultralytics does not send them.
"""

from __future__ import annotations

import base64
import functools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config.validation import ConfigurationError
from ultralytics_wb_ddp.runs.open_runs import registry
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

_EARLY_REPORT = """\
if __name__ == "__main__":
    import sys
    sys.path[:0] = [entry for entry in {path!r} if entry not in sys.path]
    from ultralytics_wb_ddp.runs.handoff import report_early_sigterm
    report_early_sigterm({file!r})
"""


class PortableCallbacks(Mapping[str, "Callable[[Any], None]"]):
    """Mapping of callbacks by event that workers receive, too.

    The first look-up in the launcher installs the transport of callbacks to its workers. So a user who registers the
    functions by hand needs no other call.

    Args:
        functions: Functions by event.
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
    """Send the trainer's callbacks with each launch of this process.

    A launch with a callback that cannot be pickled is refused. Releases that send callbacks themselves continue to do
    so. The functions that prepare a launch are wrapped in this process; no installed file changes. The callbacks are
    pickled in the workers' start file, which Ultralytics makes readable for its owner only and deletes.
    """
    from ultralytics.engine import trainer as trainer_module
    from ultralytics.utils import dist

    write_file, prepare = dist.generate_ddp_file, trainer_module.generate_ddp_command
    if hasattr(write_file, "__wrapped__"):
        return

    @functools.wraps(write_file)
    def generate_ddp_file(trainer: Any) -> str:
        registry.launcher_run = None  # set when this package's callback is pickled
        file: str = write_file(trainer)
        text = Path(file).read_text(encoding="utf-8")
        if "_callbacks=" not in text:
            text = _inject_callbacks(text, trainer.callbacks)
        Path(file).write_text(_early_report() + text, encoding="utf-8")
        return file

    @functools.wraps(prepare)
    def generate_ddp_command(*args: Any) -> Any:  # until 8.3.199 another argument precedes the trainer
        check_picklable(args[-1].callbacks)
        return prepare(*args)

    dist.generate_ddp_file = generate_ddp_file
    trainer_module.generate_ddp_command = generate_ddp_command


def check_picklable(callbacks: dict[str, list[Any]]) -> None:
    """Refuse callbacks that cannot be pickled.

    Call it before Ultralytics removes the files of a previous training.

    Args:
        callbacks: The trainer's callbacks by event.

    Raises:
        ConfigurationError: A callback cannot be pickled.
    """
    import cloudpickle

    seen: set[int] = set()
    for event, functions in callbacks.items():
        for function in filter(_is_user_callback, functions):
            owner = getattr(function, "__self__", function)
            if id(owner) in seen:
                continue
            seen.add(id(owner))
            try:
                cloudpickle.dumps(function)
            except ConfigurationError:  # from this package's callback, whose run workers cannot join
                raise
            except Exception as error:
                name = getattr(function, "__qualname__", None) or type(function).__qualname__
                msg = (
                    f"callback {name!r} of event {event!r} cannot be sent to the processes that train: "
                    f"{format_exception(error)}; create its locks, open files and connections when it is first "
                    "called there"
                )
                raise ConfigurationError(msg) from error


def _inject_callbacks(text: str, callbacks: dict[str, list[Any]]) -> str:
    """Return a start file that passes the callbacks to its trainer."""
    import cloudpickle

    user_callbacks = {
        event: [function for function in functions if _is_user_callback(function)]
        for event, functions in callbacks.items()
    }
    pickled = base64.b64encode(cloudpickle.dumps(user_callbacks)).decode()
    text = text.replace('if __name__ == "__main__":\n', _LOADER.format(path=sys.path, callbacks=pickled), 1)
    return text.replace("overrides=overrides)", "overrides=overrides, _callbacks=_callbacks)", 1)


def _early_report() -> str:
    """Return the lines of a start file that report SIGTERM to the launcher, whose run it ends."""
    file = registry.launcher_run.handback_file if registry.launcher_run else None
    return _EARLY_REPORT.format(path=sys.path, file=str(file)) if file else ""


def _is_user_callback(function: Any) -> bool:
    """Return whether a callback is the user's. Workers add Ultralytics' integrations, on rank 0 only."""
    module = getattr(function, "__module__", None) or ""
    return module == DEFAULTS or not module.startswith(INTEGRATIONS)
