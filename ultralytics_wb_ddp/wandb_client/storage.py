"""Store a row's images and tables; ensure writable directories for them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from ultralytics_wb_ddp.utils.logging import logger
from ultralytics_wb_ddp.wandb_client.internals import artifacts_on_disk
from ultralytics_wb_ddp.wandb_client.run_state import get_run_dir

TEST_FILE_SIZE = 4096  # bytes; a write of this size fails on a full disk


def store_value(run: Any, key: str, value: Any) -> None:
    """Store the files of an image, table or chart.

    Call it before ``run.log``, which stores all values of a row together and loses the row if one value fails.
    ``run.log`` skips values that are already stored. A value that a lost run has stored is stored again. An exception
    means that the value cannot be stored.
    """
    from wandb.sdk.data_types.utils import val_to_json

    if hasattr(value, "set_key"):  # a custom chart is drawn from a table
        value.set_key(key)
        key, value = value.spec.table_key, value.table
    if hasattr(value, "is_bound"):
        if value.is_bound() and value._run is not run:  # no public API, here and below
            _unbind(value)
        if not value.is_bound():
            try:
                step = run._local_step if hasattr(run, "_local_step") else run._step  # by release
                with artifacts_on_disk(run):
                    val_to_json(run, key, value, namespace=step)
            except BaseException:
                _unbind(value)
                raise
    elif not isinstance(value, (int, float, str)) and value is not None:
        from wandb.util import json_dumps_safer_history

        json_dumps_safer_history(value)


def _unbind(value: Any) -> None:
    """Make a value count as not stored, with all values in it, such as the images of a table and their classes.

    Otherwise a table would refer to files of an artifact that was never uploaded.
    """
    if isinstance(value, dict):
        value = [*value.values()]
    if isinstance(value, (list, tuple)):
        for item in value:
            _unbind(item)
    elif hasattr(value, "_artifact_target"):
        value._run = value._artifact_target = None
        _unbind({name: item for name, item in vars(value).items() if name != "_artifact_source"})


def ensure_writable_directories(directory: Path) -> None:
    """Stage artifacts and tables beside the runs if W&B's directories are unwritable."""
    moved = _move_directories(directory)
    if moved:
        logger.warning(
            "W&B cannot write to %s: artifacts and tables are put together in %s", ", ".join(moved), directory
        )


def find_writable_dir(directory: str | None, run_id: str) -> str | None:
    """Return a directory for a run's files: the given one, or a new temporary one if it cannot be written.

    Args:
        directory: The option ``dir``; None takes ``WANDB_DIR`` or the working directory.
        run_id: Id of the run, for the message.
    """
    used = Path(directory or os.environ.get("WANDB_DIR") or ".")
    if is_writable(used / "wandb"):
        return directory
    try:
        replacement = tempfile.mkdtemp(prefix="wandb-")
    except OSError:
        return directory
    if not is_writable(Path(replacement)):
        return directory
    logger.warning("run %s: %s cannot be written, W&B's files are put in %s", run_id, used.absolute(), replacement)
    return replacement


def _move_directories(parent: Path) -> list[str]:
    """Move W&B's unwritable data and cache directories beside the runs.

    Child processes inherit the environment variables that are set here.
    """
    import platformdirs  # wandb uses it; an import of wandb would take half a second while a run is being opened

    moved = []
    for variable, usual, name in (
        ("WANDB_DATA_DIR", platformdirs.user_data_dir, "data"),
        ("WANDB_CACHE_DIR", platformdirs.user_cache_dir, "cache"),
    ):
        used = os.environ.get(variable) or usual("wandb")
        if is_writable(Path(used)):
            continue
        replacement = (parent / name).absolute()
        if is_writable(replacement):
            os.environ[variable] = str(replacement)
            moved.append(f"{used} ({variable})")
    return moved


def cannot_hold_rows(run: Any) -> bool:
    """Return whether an offline run's disk is full or cannot be written: nothing else holds the run's rows."""
    return bool(run.offline) and not is_writable(get_run_dir(run))


def is_writable(folder: Path) -> bool:
    """Return whether a directory, or its nearest existing parent, is writable."""
    try:
        folder = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(TEST_FILE_SIZE))
    except OSError:
        return False
    return True
