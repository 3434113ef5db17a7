"""Parse the version numbers of releases."""

from __future__ import annotations

import re


def version_of(text: str) -> tuple[int, ...]:
    """Return the numbers of a version: (2, 9, 1) for ``2.9.1+cu128``."""
    numbers = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in numbers.group().split(".")) if numbers else ()
