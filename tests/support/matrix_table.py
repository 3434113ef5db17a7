"""Writes what the tests of the matrix found into the README: python tests/support/matrix_table.py README.md REPORT.xml...

Cells that the reports do not have stay as they are.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree as ET

from ultralytics_wb_ddp.utils.versions import version_of

__all__ = ["MARKS", "results", "table", "write"]

MARKS = "<!-- scripts/matrix writes this table -->", "<!-- to here -->"
CELL = re.compile(r"test_training_is_one_run\[(?P<ultralytics>[\d.]+)-(?P<wandb>[\d.]+)-(?P<usage>.+)\]")
WORDS = {"passed": "{}", "failed": "**{} failed**"}  # of a usage, by its outcome
NOT_TRIED = "not tried"

Results = dict[tuple[str, str], dict[str, str]]  # outcome of each usage, by the releases of Ultralytics and wandb


def results(*reports: Path) -> Results:
    """Return what JUnit reports of pytest's say; a later one wins."""
    found: Results = defaultdict(dict)
    for report in reports:
        for case in ET.parse(report).iter("testcase"):
            cell = CELL.fullmatch(case.get("name", ""))
            kinds = {part.tag for part in case}
            if cell and "skipped" not in kinds:
                outcome = "failed" if kinds & {"failure", "error"} else "passed"
                found[cell["ultralytics"], cell["wandb"]][cell["usage"]] = outcome
    return found


def table(found: Results) -> str:
    """Return a table in Markdown that names the usages of each pair of releases that passed, and those that did not."""
    rows = sorted({ultralytics for ultralytics, _ in found}, key=version_of)
    columns = sorted({wandb for _, wandb in found}, key=version_of)
    lines = [["Ultralytics", *(f"wandb {wandb}" for wandb in columns)], ["---"] * (len(columns) + 1)]
    lines += [[row, *(_words(found.get((row, column), {})) for column in columns)] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write(page: Path, *reports: Path) -> None:
    """Put what reports say into the table of a page."""
    text = page.read_text(encoding="utf-8")
    start, end = text.index(MARKS[0]) + len(MARKS[0]), text.index(MARKS[1])
    found = _read(text[start:end])
    for cell, usages in results(*reports).items():
        found[cell] = {**found.get(cell, {}), **usages}
    page.write_text(f"{text[:start]}\n\n{table(found)}\n\n{text[end:]}", encoding="utf-8")


def _read(written: str) -> Results:
    """Return what a table of this file's says."""
    found: Results = {}
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in written.split("\n") if line]
    for line in lines[2:]:
        for column, cell in zip(lines[0][1:], line[1:]):
            named = [] if cell == NOT_TRIED else re.findall(r"(?:^|, )(?:\*\*(.+?) failed\*\*|([^,]+))", cell)
            usages = {failed or passed: "failed" if failed else "passed" for failed, passed in named}
            key = line[0], column.removeprefix("wandb ")
            found[key] = {usage.replace(" ", "-"): outcome for usage, outcome in usages.items()}
    return found


def _words(usages: dict[str, str]) -> str:
    words = [WORDS[outcome].format(usage.replace("-", " ")) for usage, outcome in sorted(usages.items())]
    return ", ".join(words) or NOT_TRIED


if __name__ == "__main__":
    write(*map(Path, sys.argv[1:]))
