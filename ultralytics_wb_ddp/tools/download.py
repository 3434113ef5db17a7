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
from ultralytics_wb_ddp.utils.logging import format_exception, pluralize
from ultralytics_wb_ddp.utils.progress import track
from ultralytics_wb_ddp.wandb_client.server import DownloadError, check_path, find_run

if TYPE_CHECKING:
    import os


CONSOLE = ("output*.log", "logs/output*.log")  # one file, or one for each writer in shared mode, or one for each chunk
AXES = ("_step", "epoch")
FORMATS = {"csv": "csv", "parquet": "parquet"}  # suffix of the file by format
LARGEST = 2**63  # larger integers do not fit into Parquet's Int64
NOT_JSON = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}  # W&B stores these numbers as strings


@dataclass(frozen=True)
class DownloadedRun:
    """The downloaded files of a run.

    Attributes:
        files: Files of the run, under ``files/``.
        history: File with all rows, ``history.csv`` or ``history.parquet``.
        console: Console log, ``console.log``; None if W&B has no console log.
        missing: Reason of each missing file, by the file's name on the server.
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
    """Download the files, the history and the console log of a run.

    An unfinished run is downloaded as far as W&B has it.

    Args:
        run: Path of the run, ``entity/project/run-id``, or its web address.
        directory: Directory of the download. It is created if absent. Files of the same name are overwritten; files
            outside of the directory are not written.
        format: Format of the history, ``"csv"`` or ``"parquet"``.
        api_key: API key of W&B; None reads the environment or netrc.
        progress: Show the progress on stderr if stderr is a terminal.

    Raises:
        DownloadError: The format is unknown, the directory cannot be written to, or W&B has no such run for this key.
    """
    try:
        check_format(format)
    except TableError as error:
        raise DownloadError(str(error)) from error
    check_path(run)
    target = _make_directory(directory)
    wandb_run = find_run(run, api_key)
    try:
        expected_rows = (wandb_run.lastHistoryStep or 0) + 1
        rows = list(track(wandb_run.scan_history(), "downloading the history", length=expected_rows, visible=progress))
        names = {file.name: file for file in wandb_run.files()}
    except Exception as error:
        msg = f"run {run!r} cannot be read: {format_exception(error)}; try again later"
        raise DownloadError(msg) from error
    files, missing = _download_files(names, target / "files", progress=progress)
    history = target / f"history.{FORMATS[format]}"
    try:
        write_table(rows, history)
        console = _concatenate_console(target, set(files))
    except OSError as error:
        cause = format_exception(error)
        msg = f"directory {str(directory)!r} cannot be written to: {cause}; make room, or give another one"
        raise DownloadError(msg) from error
    return DownloadedRun(target, tuple(files), history, len(rows), console, missing)


def missing_files_message(run: DownloadedRun) -> str | None:
    """Return a message with the missing files and the reasons; None without missing files."""
    causes = [f"{name!r}: {cause}" for name, cause in run.missing.items()]
    verb = "is" if len(causes) == 1 else "are"
    return f"{pluralize(len(causes), 'file')} {verb} not downloaded: {'; '.join(causes)}" if causes else None


def _make_directory(directory: str | os.PathLike[str]) -> Path:
    """Create a directory. Raise :class:`DownloadError` if it is not writable."""
    target = Path(directory)
    try:
        (target / "files").mkdir(parents=True, exist_ok=True)
        for folder in (target, target / "files"):
            with tempfile.TemporaryFile(dir=folder):
                pass
    except OSError as error:
        msg = f"directory {str(directory)!r} cannot be written to: {format_exception(error)}; give another one"
        raise DownloadError(msg) from error
    return target


def _download_files(files: dict[str, Any], root: Path, *, progress: bool) -> tuple[list[Path], dict[str, str]]:
    """Download files below a directory. Return their paths, and the reasons of missing files."""
    downloaded, missing = [], {}
    for name, file in track(files.items(), f"downloading {pluralize(len(files), 'file')}", visible=progress):
        path = safe_path(root, name)
        if path is None:
            missing[name] = "the name leads out of the directory"
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file.download(root=str(root), replace=True).close()
            if path.stat().st_size != file.size:
                missing[name] = f"{path.stat().st_size} of {file.size} bytes have arrived"
                continue
        except Exception as error:  # noqa: BLE001  # wandb raises many classes; the other files are still to be downloaded
            missing[name] = format_exception(error)
        else:
            downloaded.append(root / name)
    return downloaded, missing


def safe_path(root: Path, name: str) -> Path | None:
    """Return the local path of a server's file; None if outside of the directory, also by a link."""
    if not name or "\0" in name or "\\" in name or any(part in {"", ".", ".."} for part in name.split("/")):
        return None
    path = (root / name).resolve()
    return path if root.resolve() in path.parents else None


def _concatenate_console(directory: Path, downloaded: set[Path]) -> Path | None:
    console = directory / "console.log"
    console.unlink(missing_ok=True)  # it may be a link to elsewhere, or of an older download
    parts = sorted(downloaded & {file for pattern in CONSOLE for file in (directory / "files").glob(pattern)})
    if not parts:
        return None
    with console.open("wb") as stream:
        for part in parts:
            if len(parts) > 1:
                stream.write(f"==> {part.name} <==\n".encode())
            with part.open("rb") as source:
                shutil.copyfileobj(source, stream)
    return console


class TableError(UserError):
    """Error for a table that cannot be written."""


def check_format(format: str) -> None:  # noqa: A002  # as the option is called
    """Check that tables of a format can be written.

    Raises:
        TableError: The format is unknown, or polars, which writes Parquet, is not installed.
    """
    if format not in FORMATS:
        msg = f"format={format!r} is unknown; choose one of {', '.join(FORMATS)}"
        raise TableError(msg)
    if format == "parquet":
        try:
            import polars as pl  # noqa: F401  # checks the installation only
        except ImportError as error:
            msg = (
                "format='parquet' needs polars; install it with: pip install 'ultralytics-wb-ddp[parquet]', or say csv"
            )
            raise TableError(msg) from error


def write_table(rows: list[dict[str, Any]], file: Path) -> None:
    """Write rows to a table, with a column for each key.

    The columns of the axes come first, then the others in the order of their names, because W&B orders the keys of each
    row differently. A value that is neither a number nor a string, such as a reference to an image, is written as JSON.

    Args:
        rows: Rows of the history.
        file: The file. The suffix ``.parquet`` selects Parquet, any other suffix CSV.
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
    """Convert strings such as "NaN" in a column of numbers to floats."""
    strings = {value for value in values if isinstance(value, str)}
    others = [value for value in values if value is not None and not isinstance(value, str)]
    if strings <= NOT_JSON.keys() and all(_is_number(value) for value in others):
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
