"""Where W&B stores what belongs to a row, pictures and tables, and what of it cannot be stored."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from ultralytics_wb_ddp.utils.logging import logger

TEST_FILE_SIZE = 4096  # bytes; a full disk takes no more of them


def store_value(run: Any, key: str, value: Any) -> None:
    """Store what belongs to a value of a row beside the run, where it is a picture, a table or a chart.

    ``run.log`` does it for all values of a row together, and where one cannot be stored the row is lost. What is stored
    already it leaves alone.

    Args:
        run: The ``wandb.Run``.
        key: Name of the value in the row.
        value: The value. What was stored in another run, one that is lost, is stored again.

    Raises:
        Exception: It cannot be stored.
    """
    from wandb.sdk.data_types.utils import val_to_json

    if hasattr(value, "set_key"):  # a chart, which is a table that is shown otherwise
        value.set_key(key)
        key, value = value.spec.table_key, value.table
    if hasattr(value, "is_bound"):
        if value.is_bound() and value._run is not run:  # no public way
            value._run = None
        if not value.is_bound():
            try:
                step = run._local_step if hasattr(run, "_local_step") else run._step  # by release
                val_to_json(run, key, value, namespace=step)
            except BaseException:
                value._run = None  # else it would count as stored
                raise
    elif not isinstance(value, (int, float, str)) and value is not None:
        from wandb.util import json_dumps_safer_history

        json_dumps_safer_history(value)


def ensure_writable_directories(place: Path) -> None:
    """Have artifacts and tables put together beside a run where W&B's own directories for that cannot be written.

    Args:
        place: Directory that holds runs.
    """
    moved = _move_directories(place)
    if moved:
        logger.warning("W&B cannot write to %s: artifacts and tables are put together in %s", ", ".join(moved), place)


def _move_directories(place: Path) -> list[str]:
    """Have W&B keep data and cache beside a run where the directories that it uses for them cannot be written.

    Artifacts and tables are put together there. The processes that this one starts are told through the environment.

    Args:
        place: Directory that holds runs.

    Returns:
        What was found, for a message: a variable and a directory each.
    """
    import platformdirs  # which wandb asks; to import wandb itself takes half a second, while a run is being opened

    moved = []
    for variable, usual, name in (
        ("WANDB_DATA_DIR", platformdirs.user_data_dir, "data"),
        ("WANDB_CACHE_DIR", platformdirs.user_cache_dir, "cache"),
    ):
        used = os.environ.get(variable) or usual("wandb")
        if _is_writable(Path(used)):
            continue
        instead = (place / name).absolute()
        if _is_writable(instead):
            os.environ[variable] = str(instead)
            moved.append(f"{used} ({variable})")
    return moved


def _is_writable(folder: Path) -> bool:
    """Return whether a directory takes a file, or the one that it is going to be made in."""
    try:
        folder = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(TEST_FILE_SIZE))
    except OSError:
        return False
    return True
