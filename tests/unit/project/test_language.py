"""Plain English: words and forms of sentences that a stranger has to solve stand nowhere."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from support.paths import ROOT

CODE = sorted((ROOT / "ultralytics_wb_ddp").rglob("*.py"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").iterdir())
RIDDLES = re.compile(
    r"\b(somebody|nobody|whoever|what of|there (?:is|are) none of|of the user's|of the script's)\b", re.IGNORECASE
)
RIDDLE_SENTENCES = re.compile(r"^(what|who|whoever|whatever|have \w+ do)\b", re.IGNORECASE)


@pytest.mark.parametrize("file", [*CODE, *PAGES, *EXAMPLES], ids=lambda file: file.relative_to(ROOT).as_posix())
def test_no_riddles(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()

    assert [f"{number}: {line.strip()}" for number, line in enumerate(lines, 1) if RIDDLES.search(line)] == []


def test_docstrings_begin_with_no_question_word() -> None:
    found = []
    for file in CODE:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                text = ast.get_docstring(node) or ""
                if RIDDLE_SENTENCES.match(text):
                    found.append(f"{file.name}: {text.splitlines()[0]}")

    assert found == []
