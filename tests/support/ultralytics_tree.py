"""A directory with the files of a release of Ultralytics that the patch command looks at."""

from __future__ import annotations

import shutil
from pathlib import Path

from ultralytics_wb_ddp.tools.stock_callback_patch import TARGET


def copy_release(release: Path, folder: Path) -> Path:
    """Copy the files into a directory, and return the file of the stock callback.

    Args:
        release: Directory that holds a release of Ultralytics.
        folder: The directory, which comes first where Python looks for Ultralytics.
    """
    for name in (TARGET, "ultralytics/__init__.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(release / name, folder / name)
    for record in release.glob("ultralytics-8*.dist-info/RECORD"):
        (folder / record.relative_to(release)).parent.mkdir()
        shutil.copy2(record, folder / record.relative_to(release))
    return folder / TARGET
