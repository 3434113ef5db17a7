"""Set and unset environment variables."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def set_or_unset(name: str, value: str | None) -> None:
    """Set an environment variable; None removes it."""
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


@contextmanager
def environment(variables: Mapping[str, str | None]) -> Iterator[None]:
    """Set environment variables for a ``with`` block; None removes one."""
    previous = {name: os.environ.get(name) for name in variables}
    try:
        for name, value in variables.items():
            set_or_unset(name, value)
        yield
    finally:
        for name, value in previous.items():
            set_or_unset(name, value)
