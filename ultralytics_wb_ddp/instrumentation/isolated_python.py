"""Find Python interpreters in a command that do not read ``PYTHONPATH``, which autolog needs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


PYTHON = re.compile(r"(python|pypy)[\d.]*(\.exe)?")
REASONS = {"I": "ignores PYTHONPATH", "E": "ignores PYTHONPATH", "S": "reads no sitecustomize.py"}
WITH_VALUE = "XW"  # options of Python with a value, in this word or the next
ENDS_OPTIONS = "cm"  # options after which the words are those of the program


def isolation_of(command: Sequence[str]) -> str | None:
    """Return the option of Python that keeps autolog away, with what it does; None if there is none.

    The words of the command count, and the first line of a script that it names.

    Args:
        command: The words of a command.
    """
    program = shutil.which(command[0])
    for words in (command, _first_line(program) if program else []):
        options = next((words[index + 1 :] for index, word in enumerate(words) if _is_python(word)), [])
        if letter := _isolating_letter(options):
            return f"-{letter} {REASONS[letter]}"
    return None


def _is_python(word: str) -> bool:
    return PYTHON.fullmatch(Path(word).name) is not None


def _first_line(program: str) -> list[str]:
    """Return the words after ``#!`` in the first line of a script."""
    try:
        with Path(program).open("rb") as file:
            line = file.readline(256)
    except OSError:
        return []
    return line[2:].decode(errors="replace").split() if line.startswith(b"#!") else []


def _isolating_letter(words: Sequence[str]) -> str | None:
    rest = iter(words)
    for word in rest:
        if not word.startswith("-") or word.startswith("--") or word == "-":
            return None
        for index, letter in enumerate(word[1:], start=1):
            if letter in REASONS:
                return letter
            if letter in ENDS_OPTIONS:
                return None
            if letter in WITH_VALUE:
                if index == len(word) - 1:
                    next(rest, None)
                break
    return None
