"""Names that W&B refuses, and why; wandb says some of it only when a training is over."""

from __future__ import annotations

import re

__all__ = ["problem_of_alias", "problem_of_link"]

MAX_LENGTH = 128
RESERVED_IN_LINK = "\\#?%:"
REGISTRY = "wandb-registry-"


def problem_of_alias(alias: str) -> str | None:
    """Return what is wrong with an alias of an artifact, with the remedy; None if nothing is."""
    if not isinstance(alias, str) or not alias.strip():
        return "an alias is a word, such as 'best'"
    if bad := sorted(set(alias) & set("/:")):
        return f"W&B refuses {' '.join(bad)} in an alias; replace them, by '-' for example"
    if re.fullmatch(r"v\d+", alias):
        return "W&B gives such names to versions itself; choose another word"
    return None


def problem_of_link(target: str) -> str | None:
    """Return what is wrong with the place that an artifact is linked to, with the remedy; None if nothing is."""
    form = "the form is 'wandb-registry-REGISTRY/COLLECTION' or 'PROJECT/PORTFOLIO', with 'ENTITY/' before it if needed"
    parts = target.split("/")
    if not 2 <= len(parts) <= 3 or not all(part.strip() for part in parts):  # noqa: PLR2004  # with or without entity
        return form
    if bad := sorted(set(target) & set(RESERVED_IN_LINK)):
        return f"W&B refuses {' '.join(bad)} in names; {form}"
    if parts[-2] == REGISTRY:
        return f"the registry has no name; {form}"
    if long := next((part for part in parts if len(part) > MAX_LENGTH), None):
        return f"{long[:20]!r}... has more than {MAX_LENGTH} characters; shorten it"
    return None
