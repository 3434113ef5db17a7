"""Set and unset environment variables."""

from __future__ import annotations

import os


def set_or_unset(name: str, value: str | None) -> None:
    """Set an environment variable; None removes it."""
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value
