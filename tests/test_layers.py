"""The layers of the package as the table of its files has them: imports go down, and there are no circles."""

from __future__ import annotations

import ast
import re
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ultralytics_wb_ddp"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
HEADER = re.compile(r"^\| (?:layer )?\| files? \| what .*\n", re.MULTILINE)

# A factory at the class that people know: WandbManager.group() makes a RunGroup, which is made of managers.
MADE_ABOVE = {("manager.py", "groups.py")}


@cache
def layers() -> dict[str, int]:
    """Return the number of the layer, from above, by the file or folder (``name/``) that the table names."""
    texts = [page.read_text(encoding="utf-8") for page in PAGES if page.exists()]
    (table,) = [HEADER.split(text)[1] for text in texts if HEADER.search(text)]
    found, number = {}, 0
    for line in table.splitlines()[1:]:
        if not line.startswith("|"):
            break
        _, layer, files, *_ = line.split("|")
        number += bool(layer.strip())
        found |= dict.fromkeys(re.findall(r"`([^`]+)`", files), number)
    return found


def layer_of(file: str) -> int:
    return next(number for name, number in layers().items() if file == name or file.startswith(name.rstrip("/") + "/"))


@cache
def imports() -> dict[str, set[str]]:
    """Return the files that each file imports anywhere, also for types and in functions."""
    modules = {}
    for path in PACKAGE.rglob("*.py"):
        words = path.relative_to(ROOT).with_suffix("").parts
        modules[".".join(words[:-1] if words[-1] == "__init__" else words)] = path.relative_to(PACKAGE).as_posix()
    found: dict[str, set[str]] = {}
    for file in modules.values():
        found[file] = set()
        for node in ast.walk(ast.parse((PACKAGE / file).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                names = {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
            elif isinstance(node, ast.Import):
                names = {alias.name for alias in node.names}
            else:
                continue
            found[file] |= {modules[name] for name in names if name in modules} - {file}
    return found


def test_every_file_has_its_place_in_the_table() -> None:
    files = {file for file in imports() if file != "__init__.py"}
    named = {name for name in layers() if (PACKAGE / name).exists()}

    assert {file for file in files if not any(file == name or file.startswith(name) for name in named)} == set()
    assert set(layers()) - named == {"patches/"}  # of the repository; the wheel has it in the package


def test_imports_go_down() -> None:
    edges = [(file, other) for file, others in imports().items() for other in others]
    inside = [edge for edge in edges if "__init__.py" not in edge]  # which hands the public names on
    up = {(file, other) for file, other in inside if layer_of(file) > layer_of(other)}

    assert len(inside) > 200
    assert up == set()


def test_imports_have_no_circles() -> None:
    graph = {
        file: {other for other in others if (file, other) not in MADE_ABOVE and other != "__init__.py"}
        for file, others in imports().items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(error.args[1][::-1]))
