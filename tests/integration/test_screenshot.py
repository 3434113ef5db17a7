"""The README's picture: what a program shows in a terminal is what is drawn."""

from __future__ import annotations

import os
import sys

from support.paths import ROOT

DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))

from screenshot import CELL, PAPER, PICTURE, draw, show  # noqa: E402  # found through the line above

PROGRAM = """\
print("\\033[38;2;255;0;0m█\\033[0m \\033[48;5;21m \\033[0m ⣿")
print("(" + input("? ") + ")")
input()
"""


def test_picture_shows_colours_characters_and_what_was_typed() -> None:
    screen = show([sys.executable, "-c", PROGRAM], os.environ, ["typed\r"], rest=1)
    image = draw(screen).convert("RGB")

    def colours(column: int, row: int) -> set[tuple[int, int, int]]:
        (width, height), left, top = CELL, (column + 1) * CELL[0], row * CELL[1] + CELL[1] // 2
        return {colour for _, colour in image.crop((left, top, left + width, top + height)).getcolors()}

    assert [line.rstrip() for line in screen.display[1:3]] == ["? typed", "(typed)"]
    assert colours(0, 0) == {(255, 0, 0)}
    assert colours(2, 0) == {(0, 0, 255)}
    assert len(colours(4, 0)) > 1
    assert len(colours(3, 2)) > 1
    assert colours(7, 2) == {tuple(bytes.fromhex(PAPER[1:]))}


def test_picture_of_the_readme_is_small() -> None:
    assert PICTURE.stat().st_size < 150_000
