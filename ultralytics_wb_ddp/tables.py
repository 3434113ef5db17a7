"""Rows of a history as a table on disk, CSV or Parquet."""

from __future__ import annotations

import csv
import json
import math
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.utils.errors import ExplainedError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FORMATS", "TableError", "check_format", "write_table"]

AXES = ("_step", "epoch")
FORMATS = {"csv": "csv", "parquet": "parquet"}  # format: how the file's name ends
LARGEST = 2**63  # integers from here on do not fit into Parquet's
NOT_JSON = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}  # as W&B stores what JSON has no word for


class TableError(ExplainedError):
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
