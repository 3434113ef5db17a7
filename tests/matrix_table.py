"""Writes what the tests of the matrix found into the README: python tests/matrix_table.py README.md REPORT.xml..."""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree as ET

from ultralytics_wb_ddp.utils.versions import version_of

__all__ = ["MARKS", "results", "table"]

MARKS = "<!-- scripts/matrix writes this table -->", "<!-- to here -->"
CELL = re.compile(r"test_training_is_one_run\[(?P<ultralytics>[\d.]+)-(?P<wandb>[\d.]+)-(?P<usage>.+)\]")

Results = dict[tuple[str, str], dict[str, str]]  # how each usage went, by the releases of Ultralytics and wandb


def results(*reports: Path) -> Results:
    """Return what JUnit reports of pytest's say; a later one wins."""
    found: Results = defaultdict(dict)
    for report in reports:
        for case in ET.parse(report).iter("testcase"):
            if cell := CELL.fullmatch(case.get("name", "")):
                kinds = {part.tag for part in case}
                outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
                found[cell["ultralytics"], cell["wandb"]][cell["usage"]] = outcome
    return found


def table(found: Results) -> str:
    """Return a table in Markdown that names the usages of each pair of releases that passed, and those that did not."""
    rows = sorted({ultralytics for ultralytics, _ in found}, key=version_of)
    columns = sorted({wandb for _, wandb in found}, key=version_of)
    lines = [["Ultralytics", *(f"wandb {wandb}" for wandb in columns)], ["---"] * (len(columns) + 1)]
    lines += [[row, *(_words(found[row, column]) for column in columns)] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _words(usages: dict[str, str]) -> str:
    marks = {"passed": "{}", "failed": "**{} failed**"}
    words = [
        marks[outcome].format(usage.replace("-", " ")) for usage, outcome in sorted(usages.items()) if outcome in marks
    ]
    return ", ".join(words) or "not tried"


def _main(readme: Path, *reports: Path) -> None:
    text = readme.read_text(encoding="utf-8")
    start, end = (text.index(mark) for mark in MARKS)
    text = f"{text[: start + len(MARKS[0])]}\n\n{table(results(*reports))}\n\n{text[end:]}"
    readme.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    _main(*map(Path, sys.argv[1:]))
