"""What Ultralytics' own launch of workers lacks: before 8.4.140 the model's callbacks stay behind in the launcher."""

from __future__ import annotations

import base64
import functools
import sys
from pathlib import Path
from typing import Any

__all__ = ["carry_callbacks"]

INTEGRATIONS = "ultralytics.utils.callbacks."
DEFAULTS = "ultralytics.utils.callbacks.base"

_LOADER = """\
if __name__ == "__main__":
    import base64, pickle, sys
    sys.path[:0] = [entry for entry in {path!r} if entry not in sys.path]
    _callbacks = pickle.loads(base64.b64decode({callbacks!r}))
"""


def carry_callbacks() -> None:
    """Have the launches of this process take the trainer's callbacks along; nothing happens where they do it anyway.

    The function that writes the workers' start file is wrapped in this process, no installed file is touched. The
    callbacks travel inside the start file, which Ultralytics makes readable for its owner only and deletes.
    """
    from ultralytics.utils import dist

    original = dist.generate_ddp_file
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def generate_ddp_file(trainer: Any) -> str:
        file: str = original(trainer)
        text = Path(file).read_text(encoding="utf-8")
        if "_callbacks=" not in text:
            Path(file).write_text(_with_callbacks(text, trainer.callbacks), encoding="utf-8")
        return file

    dist.generate_ddp_file = generate_ddp_file


def _with_callbacks(text: str, callbacks: dict[str, list[Any]]) -> str:
    """Return the text of a start file that hands callbacks to the trainer that it makes."""
    import cloudpickle

    travelling = {event: [function for function in found if _travels(function)] for event, found in callbacks.items()}
    packed = base64.b64encode(cloudpickle.dumps(travelling)).decode()
    text = text.replace('if __name__ == "__main__":\n', _LOADER.format(path=sys.path, callbacks=packed), 1)
    return text.replace("overrides=overrides)", "overrides=overrides, _callbacks=_callbacks)", 1)


def _travels(function: Any) -> bool:
    """Return whether a callback is the user's; each worker adds Ultralytics' integrations itself, on rank 0 only."""
    module = getattr(function, "__module__", None) or ""
    return module == DEFAULTS or not module.startswith(INTEGRATIONS)
