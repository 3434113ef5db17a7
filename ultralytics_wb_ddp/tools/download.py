"""Download a run: files, history and console log."""

from __future__ import annotations

import csv
import json
import math
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.utils.errors import UserError
from ultralytics_wb_ddp.utils.logging import format_exception
from ultralytics_wb_ddp.utils.progress import track
from ultralytics_wb_ddp.wandb_client.server import DownloadError, check_path, find_run

if TYPE_CHECKING:
    import os


CONSOLE = ("output*.log", "logs/output*.log")  # one file; in shared mode one of each writer; or one of each stretch
AXES = ("_step", "epoch")
FORMATS = {"csv": "csv", "parquet": "parquet"}  # format: how the file's name ends
LARGEST = 2**63  # integers from here on do not fit into Parquet's
NOT_JSON = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}  # as W&B stores what JSON has no word for


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
        rows = list(track(found.scan_history(), "downloading the history", length=about, visible=progress))
        names = {file.name: file for file in found.files()}
    except Exception as error:
        msg = f"run {run!r} cannot be read: {format_exception(error)}; try again later"
        raise DownloadError(msg) from error
    files, missing = _download_files(names, place / "files", progress=progress)
    history = place / f"history.{FORMATS[format]}"
    try:
        write_table(rows, history)
        console = _concatenate_console(place, set(files))
    except OSError as error:
        cause = format_exception(error)
        msg = f"directory {str(directory)!r} cannot be written to: {cause}; make room, or give another one"
        raise DownloadError(msg) from error
    return DownloadedRun(place, tuple(files), history, len(rows), console, missing)


def missing_files_message(run: DownloadedRun) -> str | None:
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
        msg = f"directory {str(directory)!r} cannot be written to: {format_exception(error)}; give another one"
        raise DownloadError(msg) from error
    return place


def _download_files(files: dict[str, Any], root: Path, *, progress: bool) -> tuple[list[Path], dict[str, str]]:
    """Download files below a directory, and return which came and why others did not."""
    arrived, missing = [], {}
    for name, file in track(files.items(), f"downloading {len(files)} files", visible=progress):
        place = safe_path(root, name)
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
            missing[name] = format_exception(error)
        else:
            arrived.append(root / name)
    return arrived, missing


def safe_path(root: Path, name: str) -> Path | None:
    """Return where a file of a server's is to be written; None if that is not below a directory.

    Args:
        root: The directory. Links in it that lead out of it are not followed.
        name: What the server calls the file.
    """
    if not name or "\0" in name or "\\" in name or any(part in {"", ".", ".."} for part in name.split("/")):
        return None
    place = (root / name).resolve()
    return place if root.resolve() in place.parents else None


def _concatenate_console(place: Path, arrived: set[Path]) -> Path | None:
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


class TableError(UserError):
    """A table cannot be written: the message names the value, the cause and the remedy."""


def check_format(format: str) -> None:  # noqa: A002  # as the option is called
    """Check that tables of a format can be written here.

    Raises:
        TableError: It is unknown, or polars, which writes Parquet, is not installed.
    """
    if format not in FORMATS:
        msg = f"format={format!r} is unknown; choose one of {', '.join(FORMATS)}"
        raise TableError(msg)
    if format == "parquet":
        try:
            import polars as pl  # noqa: F401  # whether it is there
        except ImportError as error:
            msg = (
                "format='parquet' needs polars; install it with: pip install 'ultralytics-wb-ddp[parquet]', or say csv"
            )
            raise TableError(msg) from error


def write_table(rows: list[dict[str, Any]], file: Path) -> None:
    """Write rows, with a column for each key, in the format that the file's name says.

    The columns of the axes come first, then the others by name: W&B gives each row an order of its own. What is neither
    a number nor a string, such as a reference to an image, is written as JSON.
    """
    names = sorted({key for row in rows for key in row}, key=lambda name: (name not in AXES, name))
    columns = {name: _as_numbers([row.get(name) for row in rows]) for name in names}
    file.unlink(missing_ok=True)  # it may be a link to elsewhere
    if file.suffix == ".parquet":
        _write_parquet(columns, file)
        return
    with file.open("w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(names)
        for number in range(len(rows)):
            writer.writerow([_as_text(columns[name][number]) for name in names])


def _as_numbers(values: list[Any]) -> list[Any]:
    """Return a column with W&B's words for numbers as numbers, where all else is a number."""
    words = {value for value in values if isinstance(value, str)}
    others = [value for value in values if value is not None and not isinstance(value, str)]
    if words <= NOT_JSON.keys() and all(_is_number(value) for value in others):
        return [NOT_JSON[value] if isinstance(value, str) else value for value in values]
    return values


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _as_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _write_parquet(columns: dict[str, list[Any]], file: Path) -> None:
    import polars as pl

    series = []
    for name, values in columns.items():
        known = [value for value in values if value is not None]
        if known and all(isinstance(value, bool) for value in known):
            series.append(pl.Series(name, values, dtype=pl.Boolean))
        elif all(isinstance(value, int) and _is_number(value) and abs(value) < LARGEST for value in known):
            series.append(pl.Series(name, values, dtype=pl.Int64))
        elif all(_is_number(value) for value in known):
            numbers = [None if value is None else float(value) for value in values]
            series.append(pl.Series(name, numbers, dtype=pl.Float64))
        else:
            series.append(pl.Series(name, [_as_text(value) for value in values], dtype=pl.String))
    pl.DataFrame(series).write_parquet(file)
