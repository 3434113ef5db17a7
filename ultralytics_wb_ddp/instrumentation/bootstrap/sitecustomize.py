"""Switch autolog on when this Python process imports Ultralytics' trainer.

``ultralytics-wb-ddp run`` puts the directory of this file in front of ``PYTHONPATH``, so each Python process that it
starts runs this file at its start. The file imports nothing of the package before Ultralytics is imported: other
processes pay nothing for it, and another interpreter may lack the package.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # typing takes milliseconds to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

VARIABLE = "ULTRALYTICS_WB_DDP_AUTOLOG"
TRAINER = "ultralytics.engine.trainer"


class TrainerFinder:
    """Finder that lets the other finders find Ultralytics' trainer, and switches autolog on after its import."""

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> Any:
        """Return the spec of the trainer's module; None for any other module."""
        if name != TRAINER:
            return None
        finders = [finder for finder in sys.meta_path if finder is not cls and hasattr(finder, "find_spec")]
        specs = (finder.find_spec(name, path, target) for finder in finders)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None:
            _call_after_import(spec.loader, _switch_on)
        return spec


def _call_after_import(loader: Any, function: Callable[[], None]) -> None:
    exec_module = loader.exec_module

    def exec_and_call(module: Any) -> None:
        exec_module(module)
        function()

    loader.exec_module = exec_and_call


def _switch_on() -> None:
    try:
        from ultralytics_wb_ddp.instrumentation.autolog import autolog_from_environment
    except ImportError as error:
        python = sys.executable
        sys.stderr.write(
            f"ultralytics_wb_ddp: WARNING: {python}: the trainings of this Python are not logged ({error}); install "
            f"the package for it, with: {python} -m pip install ultralytics-wb-ddp\n"
        )
        return
    autolog_from_environment()


def _import_next_sitecustomize() -> None:
    """Import the ``sitecustomize`` that this one hides, if there is one."""
    directory = os.path.dirname(__file__)  # noqa: PTH120  # pathlib takes milliseconds to import
    this_module = sys.modules.pop(__name__)
    index = sys.path.index(directory) if directory in sys.path else -1
    if index >= 0:
        del sys.path[index]
    try:
        __import__(__name__)
    except ImportError as error:
        sys.modules.setdefault(__name__, this_module)
        if error.name != __name__:
            raise
    finally:
        if index >= 0:
            sys.path.insert(index, directory)


if __name__ == "sitecustomize":
    if os.environ.get(VARIABLE):
        sys.meta_path.insert(0, TrainerFinder)
    _import_next_sitecustomize()
