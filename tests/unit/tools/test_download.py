"""The parts of a download: names of files, tables of a history, and what is missing."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ultralytics_wb_ddp.tools.download import (
    DownloadedRun,
    TableError,
    check_format,
    missing_files_message,
    safe_path,
    write_table,
)


@pytest.mark.parametrize("name", ["a", "a/b.txt", "a/..b", "media/images/x y.png"])
def test_name_below_the_directory(tmp_path: Path, name: str) -> None:
    assert safe_path(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize("name", ["", ".", "..", "/a", "a//b", "a/", "../a", "a/../../b", "a\\b", "a\0b"])
def test_name_that_is_none_below_the_directory(tmp_path: Path, name: str) -> None:
    assert safe_path(tmp_path, name) is None


ROWS: list[dict[str, Any]] = [
    {"loss": 1, "flag": True, "image": {"_type": "image-file"}, "_step": 0, "huge": 2**64, "odd": "x"},
    {"loss": "Infinity", "_step": 1, "odd": 2},
]


def test_history_as_parquet_has_a_type_for_each_column(tmp_path: Path) -> None:
    write_table(ROWS, tmp_path / "history.parquet")

    table = pl.read_parquet(tmp_path / "history.parquet")
    assert table.to_dicts() == [
        {"_step": 0, "loss": 1.0, "flag": True, "image": '{"_type": "image-file"}', "huge": 2.0**64, "odd": "x"},
        {"_step": 1, "loss": float("inf"), "flag": None, "image": None, "huge": None, "odd": "2"},
    ]


def test_history_as_csv_has_a_row_for_each_row(tmp_path: Path) -> None:
    write_table(ROWS, tmp_path / "history.csv")

    with (tmp_path / "history.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["_step", "flag", "huge", "image", "loss", "odd"],
            ["0", "true", str(2**64), '{"_type": "image-file"}', "1", "x"],
            ["1", "", "", "", "Infinity", "2"],
        ]


def test_columns_of_a_history_are_the_axes_and_then_the_others_by_name(tmp_path: Path) -> None:
    write_table([{"val/loss": 1, "epoch": 1, "_step": 0}, {"lr": 2, "_step": 1, "epoch": 2}], tmp_path / "history.csv")

    assert (tmp_path / "history.csv").read_text().splitlines()[0] == "_step,epoch,lr,val/loss"


def test_run_without_rows_is_an_empty_table(tmp_path: Path) -> None:
    for name in ("history.csv", "history.parquet"):
        write_table([], tmp_path / name)

    assert (tmp_path / "history.csv").read_text().strip() == ""
    assert pl.read_parquet(tmp_path / "history.parquet").height == 0


def test_parquet_without_polars_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)

    with pytest.raises(TableError, match=r"install it with: pip install 'ultralytics-wb-ddp\[parquet\]'"):
        check_format("parquet")
    check_format("csv")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], None),
        (["a.txt"], "1 file is not downloaded: 'a.txt': gone"),
        (["a.txt", "b.txt"], "2 files are not downloaded: 'a.txt': gone; 'b.txt': gone"),
    ],
)
def test_missing_files_are_counted_in_words_of_one_or_of_several(names: list[str], message: str | None) -> None:
    run = DownloadedRun(Path("out"), (), Path("out/history.csv"), 1, None, dict.fromkeys(names, "gone"))

    assert missing_files_message(run) == message
