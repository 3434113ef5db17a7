"""A run brought back from W&B: its files, its history, what it printed."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.tables import FORMATS, TableError, check_format, write_table
from ultralytics_wb_ddp.utils.logging import cause_of
from ultralytics_wb_ddp.utils.progress import shown
from ultralytics_wb_ddp.wandb_client.server import DownloadError, check_path, find_run

if TYPE_CHECKING:
    import os


CONSOLE = ("output*.log", "logs/output*.log")  # one file; in shared mode one of each writer; or one of each stretch


@dataclass(frozen=True)
class DownloadedRun:
    """What was brought back of a run.

    Attributes:
        directory: Where it is.
        files: The run's files, under ``files/``.
        history: All rows, as ``history.csv`` or ``history.parquet``.
        rows: How many rows that is.
        console: What was printed, as ``console.log``; None if W&B has nothing of it.
        missing: What could not be brought back, and why, by the name that the server gives it.
    """

    directory: Path
    files: tuple[Path, ...]
    history: Path
    rows: int
    console: Path | None
    missing: dict[str, str]


def download_run(
    run: str,
    directory: str | os.PathLike[str],
    *,
    format: str = "csv",  # noqa: A002  # as the command's --format
    api_key: str | None = None,
    progress: bool = False,
) -> DownloadedRun:
    """Download a run. Of one that is not finished, what W&B has by now.

    Args:
        run: Path of the run, ``entity/project/run-id``, or its web address.
        directory: Where to; it is made. What is there of the same name is written over, nothing outside of it is.
        format: ``"csv"`` or ``"parquet"``, of the history.
        api_key: API key of W&B; without, the environment or netrc has one.
        progress: Show the progress on stderr where that is a terminal.

    Raises:
        DownloadError: The format is unknown, the directory cannot be written to, or W&B has no such run for this key.
    """
    try:
        check_format(format)
    except TableError as error:
        raise DownloadError(str(error)) from error
    check_path(run)
    place = _make_directory(directory)
    found = find_run(run, api_key)
    try:
        about = (found.lastHistoryStep or 0) + 1
        rows = list(shown(found.scan_history(), "downloading the history", length=about, visible=progress))
        names = {file.name: file for file in found.files()}
    except Exception as error:
        msg = f"run {run!r} cannot be read: {cause_of(error)}; try again later"
        raise DownloadError(msg) from error
    files, missing = _download_files(names, place / "files", progress=progress)
    history = place / f"history.{FORMATS[format]}"
    try:
        write_table(rows, history)
        console = _join_console(place, set(files))
    except OSError as error:
        msg = f"directory {str(directory)!r} cannot be written to: {cause_of(error)}; make room, or give another one"
        raise DownloadError(msg) from error
    return DownloadedRun(place, tuple(files), history, len(rows), console, missing)


def missing_of(run: DownloadedRun) -> str | None:
    """Return what of a run could not be brought back, and why; None if nothing is missing."""
    causes = [f"{name!r}: {cause}" for name, cause in run.missing.items()]
    return f"{len(causes)} files are not downloaded: {'; '.join(causes)}" if causes else None


def _make_directory(directory: str | os.PathLike[str]) -> Path:
    """Return a directory that can be written to."""
    place = Path(directory)
    try:
        (place / "files").mkdir(parents=True, exist_ok=True)
        for folder in (place, place / "files"):
            with tempfile.TemporaryFile(dir=folder):
                pass
    except OSError as error:
        msg = f"directory {str(directory)!r} cannot be written to: {cause_of(error)}; give another one"
        raise DownloadError(msg) from error
    return place


def _download_files(files: dict[str, Any], root: Path, *, progress: bool) -> tuple[list[Path], dict[str, str]]:
    """Download files below a directory, and return which came and why others did not."""
    arrived, missing = [], {}
    for name, file in shown(files.items(), f"downloading {len(files)} files", visible=progress):
        place = place_below(root, name)
        if place is None:
            missing[name] = "the name leads out of the directory"
            continue
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            file.download(root=str(root), replace=True).close()
            if place.stat().st_size != file.size:
                missing[name] = f"{place.stat().st_size} of {file.size} bytes have arrived"
                continue
        except Exception as error:  # noqa: BLE001  # wandb raises many kinds; the other files may come
            missing[name] = cause_of(error)
        else:
            arrived.append(root / name)
    return arrived, missing


def place_below(root: Path, name: str) -> Path | None:
    """Return where a file of a server's is to be written; None if that is not below a directory.

    Args:
        root: The directory. Links in it that lead out of it are not followed.
        name: What the server calls the file.
    """
    if not name or "\0" in name or "\\" in name or any(part in {"", ".", ".."} for part in name.split("/")):
        return None
    place = (root / name).resolve()
    return place if root.resolve() in place.parents else None


def _join_console(place: Path, arrived: set[Path]) -> Path | None:
    """Write what a run has printed into one file; files of an older download are none of its."""
    console = place / "console.log"
    console.unlink(missing_ok=True)  # it may be a link to elsewhere, or of an older download
    parts = sorted(arrived & {file for pattern in CONSOLE for file in (place / "files").glob(pattern)})
    if not parts:
        return None
    with console.open("wb") as target:
        for part in parts:
            if len(parts) > 1:
                target.write(f"==> {part.name} <==\n".encode())
            with part.open("rb") as source:
                shutil.copyfileobj(source, target)
    return console
