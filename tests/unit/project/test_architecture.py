"""The rooms of the package: every one has its sentence, and no file lies beside them."""

from __future__ import annotations

import re

from support.paths import ROOT

PACKAGE = ROOT / "ultralytics_wb_ddp"


PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def rooms() -> set[str]:
    folders = {f"{path.parent.name}/" for path in PACKAGE.glob("*/__init__.py")}
    return folders | {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py"}


def test_every_room_has_a_sentence() -> None:
    table = PAGE.partition("| room |")[2].partition("\n\n")[0]

    assert set(re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)) == rooms()


def test_the_glossary_is_short() -> None:
    words = re.findall(r"^\| (?!word|---)([^|]+) \|", PAGE.partition("## Glossary")[2], re.MULTILINE)

    assert 10 < len(words) <= 20


def test_no_file_lies_beside_the_rooms() -> None:
    assert {room for room in rooms() if room.endswith(".py")} == {"callback.py", "manager.py", "program.py"}
