"""Build and check names of runs, artifacts and files by W&B's rules.

W&B accepts some run ids that it refuses as names of artifacts. :func:`safe_name` keeps a valid name. It changes any
other name, always in the same way and with a part of its hash, so that two ids never share a name. wandb reports some
invalid names only when a training is over.
"""

from __future__ import annotations

import hashlib
import re

MAX_LENGTH = 128  # of the id and the name of a run, of a group, a project and an artifact
REFUSED = re.compile(r"[^A-Za-z0-9_.-]")  # in the name of an artifact
LONG_ID = 64  # characters of a run id from which wandb may build too long names, of the id and a key
MAX_BYTES = 255  # of a file's name
HASH_LENGTH = 8  # digits of the hash
RESERVED_IN_LINK = "\\#?%:"
REGISTRY = "wandb-registry-"


def safe_name(title: str, length: int = MAX_LENGTH) -> str:
    """Return a run id or a user's name as a valid name of an artifact, of ``length`` characters at most."""
    if title and len(title) <= length and not REFUSED.search(title):
        return title
    return f"{REFUSED.sub('_', title)[: length - HASH_LENGTH - 1]}-{_short_hash(title)}"


def _short_hash(title: str) -> str:
    return hashlib.sha256(title.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_LENGTH]


def _around(run_id: str, end: str) -> str:
    return f"run_{safe_name(run_id, MAX_LENGTH - len('run_') - len(end))}{end}"


def model_collection(run_id: str) -> str:
    """Return the name of the artifact for a run's checkpoints.

    Ultralytics' own W&B callback uses the same name.
    """
    return _around(run_id, "_model")


def training_inputs_name(run_id: str) -> str:
    """Return the name of the artifact for a training's inputs."""
    return _around(run_id, "_training_inputs")


def input_artifact_name(kind: str, title: str) -> str:
    """Return the name of the artifact for an input of the kind ``"dataset"`` or ``"weights"``.

    The kind in front keeps it apart from the user's own artifacts: ``coco8:latest`` stays the same.
    """
    return f"{kind}_{safe_name(title, MAX_LENGTH - len(kind) - 1)}"


def derived_id(base_id: str, end: str) -> str:
    """Return an id derived from another run's id, such as ``{base_id}-rank-1``."""
    room = MAX_LENGTH - len(end) - 1
    shown = base_id if len(base_id) <= room else f"{base_id[: room - HASH_LENGTH - 1]}-{_short_hash(base_id)}"
    return f"{shown}-{end}"


def file_name(title: str, end: str) -> str:
    """Return a file's name, shortened to the limit of file systems."""
    is_short = len(title.encode("utf-8", "surrogatepass")) <= MAX_BYTES - len(end)
    return f"{title if is_short else safe_name(title, MAX_LENGTH)}{end}"


def run_name(name: str, end: str = "") -> str:
    """Return the display name of a run, shortened to W&B's limit, with an end that tells it from others."""
    room = MAX_LENGTH - (len(end) + 1 if end else 0)
    shown = name if len(name) <= room else f"{name[: room - 3]}..."
    return f"{shown}-{end}" if end else shown


def alias_problem(alias: str) -> str | None:
    """Return the problem with an artifact's alias and its remedy, or None."""
    if not isinstance(alias, str) or not alias.strip():
        return "an alias is a word, such as 'best'"
    if bad := sorted(set(alias) & set("/:")):
        return f"W&B refuses {' '.join(bad)} in an alias; replace them, by '-' for example"
    if re.fullmatch(r"v\d+", alias):
        return "W&B gives such names to versions itself; choose another word"
    return None


def artifact_name_problem(name: str) -> str | None:
    """Return the problem with an artifact's name and its remedy, or None."""
    if not isinstance(name, str) or REFUSED.search(name) or not name:
        return "W&B takes letters, digits, '-', '_' and '.' in the name of an artifact; replace the others"
    return f"it has {len(name)} characters; W&B takes {MAX_LENGTH}, shorten it" if len(name) > MAX_LENGTH else None


def link_problem(target: str) -> str | None:
    """Return the problem with a link target and its remedy, or None."""
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
