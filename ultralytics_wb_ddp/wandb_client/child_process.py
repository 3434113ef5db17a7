"""Run modules and functions of this package in processes of their own."""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def child_environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a process that imports the same modules and starts a wandb-core of its own.

    Args:
        variables: Further environment variables.
    """
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    environment["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
    return {**environment, **(variables or {})}


def start_module(
    name: str, *arguments: str, variables: Mapping[str, str] | None = None, **options: Any
) -> subprocess.Popen[bytes]:
    """Start ``python -m name`` with a pipe to its stdin, in a session that this process group's signals do not reach.

    Args:
        name: Name of the module.
        arguments: Its arguments.
        variables: Further environment variables.
        options: Further options of ``subprocess.Popen``.
    """
    return subprocess.Popen(  # noqa: S603  # a module of this package
        [sys.executable, "-m", name, *arguments],
        env=child_environment(variables),
        stdin=subprocess.PIPE,
        start_new_session=True,
        **options,
    )


def run_in_child(
    function: Callable[[], Any], *, variables: Mapping[str, str] | None = None, **options: Any
) -> subprocess.Popen[bytes]:
    """Start a process that calls a function. Its stdout has the pickled result, unless that is None.

    Args:
        function: A function that can be pickled, such as a ``functools.partial`` of a module's function.
        variables: Further environment variables.
        options: Further options of ``subprocess.Popen``.
    """
    pickled = pickle.dumps(function)
    process = start_module(__name__, variables=variables, **options)
    assert process.stdin is not None  # noqa: S101  # a pipe was requested
    with contextlib.suppress(BrokenPipeError), process.stdin as pipe:  # a dead process has an exit code
        pipe.write(pickled)
    process.stdin = None  # it is closed, and communicate() would write to it
    return process


def _main() -> None:
    function = pickle.load(sys.stdin.buffer)  # noqa: S301  # from the parent process
    sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115  # open until the process ends
    result = function()
    if result is not None:
        sys.stdout.buffer.write(pickle.dumps(result))


if __name__ == "__main__":
    _main()
