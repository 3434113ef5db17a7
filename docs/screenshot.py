"""Draws the README's picture: runs the demo, opens its run in ``wandb leet`` and draws what that terminal shows.

    scripts/screenshot                  # runs the demo first; two minutes
    scripts/screenshot --run FOLDER     # a run that is there already

Needs the extra "test", and Linux or macOS.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pyte
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PICTURE = Path(__file__).with_name("leet.png")
DEMO = ["demo", "--images", "96", "--epochs", "40"]
COLUMNS, ROWS = 150, 34

# What is typed into leet: which charts it shows, and which of the run's values.
CLEAR = ["\x0c", "\x0f"]  # leet remembers what was typed the last time
KEYS = [*CLEAR, "/", "mAP|images_per|train/.*_loss|lr/pg0", "\r", "o", "args|best/|final/", "\r"]
LEET = {"metrics_grid": {"rows": 3, "cols": 3}, "single_run_color_mode": "per_plot", "right_sidebar_visible": False}

CELL = 9, 18  # pixels of a character
FONT_SIZE = 15
INK, PAPER = "#d0d0d0", "#16181d"  # of a terminal's default colours
COLOURS = {  # as pyte names those of the first 16 that have names; all others come as hexadecimal numbers
    "black": "#000000",
    "red": "#cd3131",
    "green": "#0dbc79",
    "brown": "#e5e510",
    "blue": "#2472c8",
    "magenta": "#bc3fbc",
    "cyan": "#11a8cd",
    "white": "#e5e5e5",
}
BRAILLE = 0x2800  # the first of 256 characters, each a pattern of eight dots
DOTS = ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3))  # column and row of each bit
BLOCKS = {  # drawn as rectangles, so that they meet: left, top, right, bottom as parts of a cell
    "█": (0, 0, 1, 1),
    "▀": (0, 0, 1, 0.5),
    "▄": (0, 0.5, 1, 1),
    "▌": (0, 0, 0.5, 1),
    "▐": (0.5, 0, 1, 1),
}
LINES = {  # drawn as lines, for the same reason: to which sides they go, left, up, right and down
    "│": "ud",
    "─": "lr",
    "—": "lr",
    "╭": "rd",
    "┌": "rd",
    "╮": "ld",
    "┐": "ld",
    "╰": "ru",
    "└": "ru",
    "╯": "lu",
    "┘": "lu",
}


def show(command: Sequence[str], env: Mapping[str, str], keys: Sequence[str] = (), rest: float = 3.0) -> pyte.Screen:
    """Run a program in a terminal, type keys, and return what the terminal shows; then end the program.

    Args:
        command: The program and its arguments.
        env: Its environment.
        keys: What is typed, one after the other.
        rest: Seconds without output after which the program has drawn what it has to draw; to start, it has ten times
            as long.
    """
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    here, there = pty.openpty()
    fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    env = {**env, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    process = subprocess.Popen(command, stdin=there, stdout=there, stderr=there, env=env, start_new_session=True)  # noqa: S603  # a program of ours
    os.close(there)
    try:
        _read(here, stream, rest, first=10 * rest)
        for key in keys:
            os.write(here, key.encode())
            _read(here, stream, rest, first=rest)
    finally:
        process.terminate()
        process.wait()
        os.close(here)
    return screen


def _read(terminal: int, stream: pyte.ByteStream, rest: float, first: float) -> None:
    """Feed what a program prints to a terminal, which begins within ``first`` seconds, until it rests for ``rest``."""
    deadline = time.monotonic() + 10 * rest
    wait = first
    while time.monotonic() < deadline and select.select([terminal], [], [], wait)[0]:
        wait = rest
        try:
            printed = os.read(terminal, 65536)
        except OSError:  # the program has ended
            return
        if not printed:
            return
        stream.feed(printed)


def draw(screen: pyte.Screen) -> Image.Image:
    """Draw what a terminal shows, with the font that comes with matplotlib, in 256 colours at most."""
    import matplotlib as mpl

    fonts = Path(mpl.get_data_path(), "fonts/ttf")
    regular, bold = (
        ImageFont.truetype(str(fonts / name), FONT_SIZE) for name in ("DejaVuSansMono.ttf", "DejaVuSansMono-Bold.ttf")
    )
    width, height = CELL
    image = Image.new("RGB", ((screen.columns + 2) * width, (screen.lines + 1) * height), PAPER)
    pen = ImageDraw.Draw(image)
    for row in range(screen.lines):
        for column in range(screen.columns):
            cell = screen.buffer[row][column]
            ink, paper = _colour(cell.fg, INK), _colour(cell.bg, PAPER)
            if cell.reverse:
                ink, paper = paper, ink
            left, top = (column + 1) * width, row * height + height // 2
            if paper != PAPER:
                pen.rectangle((left, top, left + width - 1, top + height - 1), fill=paper)
            if cell.data.strip():
                _draw_character(pen, cell.data, left, top, ink, bold if cell.bold else regular)
    return image.quantize(256, dither=Image.Dither.NONE)


def _draw_character(
    pen: ImageDraw.ImageDraw, character: str, left: int, top: int, ink: str, font: ImageFont.FreeTypeFont
) -> None:
    width, height = CELL
    code = ord(character[0]) - BRAILLE
    if 0 <= code < 1 << len(DOTS):  # of charts; the font has none
        for bit, (across, down) in enumerate(DOTS):
            if code >> bit & 1:
                x, y = left + width * (across + 0.5) / 2, top + height * (down + 0.5) / 4
                pen.ellipse((x - 1.5, y - 1.5, x + 1.5, y + 1.5), fill=ink)
    elif part := BLOCKS.get(character):
        x0, y0, x1, y1 = part
        right, bottom = left + round(width * x1) - 1, top + round(height * y1) - 1
        pen.rectangle((left + round(width * x0), top + round(height * y0), right, bottom), fill=ink)
    elif sides := LINES.get(character):
        x, y = left + width // 2, top + height // 2
        ends = {"l": (left, y), "r": (left + width - 1, y), "u": (x, top), "d": (x, top + height - 1)}
        for side in sides:
            pen.line((x, y, *ends[side]), fill=ink)
    else:
        pen.text((left, top), character, font=font, fill=ink)


def _colour(name: str, default: str) -> str:
    if name == "default":
        return default
    return COLOURS.get(name.removeprefix("bright"), f"#{name}")


def _run_demo(folder: Path) -> Path:
    """Run the demo in a folder and return where its run lies."""
    command = [Path(sys.executable).with_name("ultralytics-wb-ddp"), *DEMO]
    subprocess.run(command, cwd=folder, check=True)  # noqa: S603  # the same
    (run,) = folder.glob("*/wandb/offline-run-*")
    return run


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="folder of an offline run; without it the demo makes one")
    parser.add_argument("--out", type=Path, default=PICTURE, help="the picture")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = options.run or _run_demo(Path(folder))
        settings = Path(folder, ".config/wandb/wandb-leet.json")
        settings.parent.mkdir(parents=True)
        settings.write_text(json.dumps(LEET), encoding="utf-8")
        wandb = Path(sys.executable).with_name("wandb")
        screen = show([str(wandb), "leet", str(run.resolve())], {**os.environ, "HOME": folder}, KEYS)
        draw(screen).save(options.out, optimize=True)
    print(f"{options.out}: {options.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    _main()
