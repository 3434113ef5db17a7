"""The README's table of releases is the one that the matrix writes."""

from __future__ import annotations

import re
from pathlib import Path

from support import matrix_table
from support.documents import README
from ultralytics_wb_ddp.tools.stock_callback_patch import known_releases


def test_cells_of_the_matrix_that_were_not_tried_again_stay(tmp_path: Path) -> None:
    first, last = matrix_table.MARKS
    page, report = tmp_path / "page.md", tmp_path / "report.xml"
    table = [
        "| Ultralytics | wandb 0.22.3 | wandb 0.31.0 |",
        "| --- | --- | --- |",
        "| 8.3.0 | A, **patch open failed** | not tried |",
        "| 8.4.9 | not tried | B, C |",
    ]
    page.write_text("\n".join(["before", first, "", *table, "", last, "after"]))
    cases = [("8.3.0-0.22.3-patch-open", ""), ("8.4.9-0.29.0-A", ""), ("8.4.9-0.31.0-B", "<skipped/>")]
    rows = [f'<testcase name="test_training_is_one_run[{name}]">{outcome}</testcase>' for name, outcome in cases]
    report.write_text(f"<testsuites>{''.join(rows)}</testsuites>")

    matrix_table.write(page, report)

    assert page.read_text().splitlines() == [
        "before",
        first,
        "",
        "| Ultralytics | wandb 0.22.3 | wandb 0.29.0 | wandb 0.31.0 |",
        "| --- | --- | --- | --- |",
        "| 8.3.0 | A, patch open | not tried | not tried |",
        "| 8.4.9 | not tried | A | B, C |",
        "",
        last,
        "after",
    ]


def test_table_of_releases_is_what_the_matrix_writes(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    cases = {
        "8.3.0-0.22.3-A": "",
        "8.3.0-0.22.3-patch-open": "<failure/>",
        "8.4.9-0.31.0-B": "",
        "8.4.9-0.22.3-B": "<skipped/>",
    }
    report.write_text(
        "".join(
            ["<testsuites>"]
            + [f'<testcase name="test_training_is_one_run[{name}]">{how}</testcase>' for name, how in cases.items()]
            + ["</testsuites>"]
        )
    )

    assert matrix_table.table(matrix_table.results(report)).splitlines() == [
        "| Ultralytics | wandb 0.22.3 | wandb 0.31.0 |",
        "| --- | --- | --- |",
        "| 8.3.0 | A, **patch open failed** | not tried |",
        "| 8.4.9 | not tried | B |",
    ]
    first, last = (README.index(mark) for mark in matrix_table.MARKS)
    assert {"8.3.0", known_releases().split()[-1]} <= set(
        re.findall(r"^\| ([\d.]+) \|", README[first:last], re.MULTILINE)
    )
    assert "failed" not in README[first:last]
