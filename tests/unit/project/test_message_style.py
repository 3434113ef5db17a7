"""How messages are written."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from support.paths import ROOT

PACKAGE = ROOT / "ultralytics_wb_ddp"
LEVELS = {"debug", "info", "warning", "error", "exception"}


def text_of(node: ast.expr | None) -> str | None:
    """Return a string of the source with ``{}`` for its values."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return None


def messages() -> Iterator[tuple[str, str]]:
    """Yield where each message of the package stands and how it is written."""
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            found = None
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "msg":
                found = text_of(node.value)
            elif isinstance(node, ast.Call) and ast.unparse(node.func) in {f"logger.{level}" for level in LEVELS}:
                found = text_of(node.args[0])
            if found:
                yield f"{file.name}:{node.lineno}", found


def test_messages_are_written_in_one_way() -> None:
    found = list(messages())
    begins_well = re.compile(r"[a-z'{%\[]|[A-Z][A-Z0-9_]+\b|W&B|Ultralytics|AWS")
    wrong = {
        place: text
        for place, text in found
        if not begins_well.match(text) or text.endswith((".", "!", ":")) or "\n" in text or "  " in text
    }

    assert len(found) > 200, "the messages are no longer found"
    assert wrong == {}
