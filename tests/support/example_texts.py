"""The examples' own words: each says at its top what it shows, and how it is run."""

from __future__ import annotations

import ast
import re

from support.paths import ROOT


def header(example: str) -> str:
    """Return what an example says at its top."""
    text = (ROOT / example).read_text(encoding="utf-8")
    if example.endswith(".py"):
        return ast.get_docstring(ast.parse(text)) or ""
    lines = text.removeprefix("#!/bin/bash\n").splitlines()
    end = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return "\n".join(line[2:] for line in lines[:end])


def commands(said: str) -> list[str]:
    """Return the commands among what an example says."""
    return re.findall(r"^ {2,4}(\S.*)$", said.replace("\\\n", " "), re.MULTILINE)
