"""How the command line names the function of a script; it loads neither Ultralytics nor W&B."""

from __future__ import annotations

import sys
from collections.abc import Callable


def run_named(functions: dict[str, Callable[..., None]]) -> None:
    """Call the function that the command line names, with its other words as arguments."""
    functions[sys.argv[1]](*sys.argv[2:])
